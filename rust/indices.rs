//! Indices, checked on a copy that nobody else can change afterwards.

use ndarray::ArrayView1;

use crate::chunks::reserved;
use crate::error::Result;
use crate::shape::{equal, refuse};

/// The `rows` elements of `given (N,)` as indices below `limit`, which error texts call `letter`.
pub(crate) fn checked(
    operation: &'static str, argument: &'static str, given: ArrayView1<'_, i64>, rows: usize,
    letter: char, limit: usize,
) -> Result<Vec<usize>> {
    equal(operation, argument, "(N,)", &[rows], given.shape())?;
    let mut indices = reserved(rows, "a copy of the indices")?;
    for (place, &value) in given.iter().enumerate() {
        indices.push(index(operation, argument, place, value, letter, limit)?);
    }
    Ok(indices)
}

/// `value`, the element at `place`, as an index below `limit`.
pub(crate) fn index(
    operation: &'static str, argument: &'static str, place: usize, value: i64, letter: char,
    limit: usize,
) -> Result<usize> {
    usize::try_from(value).ok().filter(|&i| i < limit).ok_or_else(|| {
        let expected = format!("integers from 0 to {letter}-1 = {}", limit as i128 - 1);
        refuse(operation, argument, expected, format!("{value} at position {place}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bad_index_is_named() {
        let check = |given: &[i64]| checked("f", "ids", given.into(), 3, 'V', 5);
        assert_eq!(check(&[0, 4, 2]), Ok(vec![0, 4, 2]));
        let texts = [
            (&[0, 5, -1][..], "f: ids: expected integers from 0 to V-1 = 4, got 5 at position 1"),
            (&[0, 1, -1], "f: ids: expected integers from 0 to V-1 = 4, got -1 at position 2"),
            (&[0, 1], "f: ids: expected shape (N,) = (3,), got (2,)"),
        ];
        for (given, text) in texts {
            assert_eq!(check(given).unwrap_err().to_string(), text);
        }
    }
}
