//! Prefix beam search (Graves 2008, chapter 7; Hannun et al. 2014).
//!
//! Two paths that read the same so far are one prefix, and their probabilities add up: apart for
//! those that end in a blank and those that end in the prefix's last label, since only behind a
//! blank can the same label follow once more.

use std::cmp::Ordering;
use std::collections::HashMap;

use ndarray::ArrayView2;

use super::{COST, Ctc, Hypothesis, refuse_undefined};
use crate::chunks::{each, reserved, zeros};
use crate::error::{Error, Result};
use crate::log_space::{ZERO, exponentials, ln, padded, read, with_zeros};
use crate::parallel::threads_for;
use crate::shape::refuse;
use crate::simd::{Element, Isa, Kernel, Lanes};

const OPERATION: &str = "ctc_beam_decode";
/// The prefix of no labels.
const ROOT: usize = 0;
const NO_PLACE: usize = usize::MAX;

/// The most probable label sequences of each row, best first, at most `beam_width`.
///
/// After every step only the `beam_width` most probable prefixes are kept; of equals those that
/// stood first, so the result is always the same. With a beam as wide as there are prefixes the
/// probabilities are exact, else they lack what was dropped.
///
/// ```
/// use ndarray::array;
/// use recurra::ctc::{Ctc, beam_decode, greedy_decode};
///
/// // The best path is two blanks, and yet three paths that read "1" have more together.
/// let probabilities = array![[[0.6_f64, 0.4], [0.6, 0.4]]];
/// let logits = probabilities.map(|p| p.ln());
/// let ctc = Ctc { logits: logits.view(), lengths: None, blank: 0 };
/// assert_eq!(greedy_decode(&ctc, None)?[0].labels, []);
/// let found = beam_decode(&ctc, 4, None)?;
/// assert_eq!(found[0][0].labels, [1]);
/// assert!((found[0][0].log_probability - 0.64_f64.ln()).abs() < 1e-15);
/// # Ok::<(), recurra::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] for a beam of no width, a blank and lengths that do not fit, and for logits
/// that are NaN or have an infinite largest one; [`Error::Memory`].
pub fn beam_decode<T: Element>(
    ctc: &Ctc<'_, T>, beam_width: usize, threads: Option<usize>,
) -> Result<Vec<Vec<Hypothesis>>> {
    let lengths = ctc.checked(OPERATION)?;
    if beam_width == 0 {
        return Err(refuse(OPERATION, "beam_width", "an integer from 1 on", "0"));
    }
    let work = ctc.logits.len().saturating_mul(COST).saturating_mul(beam_width);
    let threads = threads_for(OPERATION, threads, work)?;
    let isa = Isa::current()?;
    let mut found = zeros(lengths.len(), "hypotheses")?;
    each(found.iter_mut(), threads, |b, hypotheses| {
        let mut search = Search::new(ctc.blank, beam_width)?;
        for (t, logits) in ctc.row(b, lengths[b]).rows().into_iter().enumerate() {
            let step = |line: &mut [f64]| {
                let logits = logits.insert_axis(ndarray::Axis(0));
                if <f64 as Element>::dispatch(isa, LogSoftmax { logits, line }) {
                    search.step(&line[..logits.ncols()])
                } else {
                    Err(refuse_undefined(OPERATION, b, t))
                }
            };
            with_zeros(padded(logits.len()), step)??;
        }
        *hypotheses = search.hypotheses()?;
        Ok(())
    })?;
    Ok(found)
}

/// Writes the logarithms of the probabilities; false where they are not numbers.
struct LogSoftmax<'a, T> {
    /// (1, V)
    logits: ArrayView2<'a, T>,
    line: &'a mut [f64],
}

impl<T: Element> Kernel<f64> for LogSoftmax<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run<L: Lanes<f64>>(self, l: L) -> bool {
        read(self.logits.row(0), self.line);
        let (most, total) = exponentials(l, self.line);
        let log_total = ln(total);
        read(self.logits.row(0), self.line);
        self.line.iter_mut().for_each(|z| *z = (*z - most) - log_total);
        !total.is_nan()
    }
}

/// A prefix: one label after another prefix.
struct Node {
    parent: usize,
    label: usize,
    /// Where the beam has it.
    place: usize,
}

/// A prefix in the beam, with the logarithms of the probabilities of its paths.
#[derive(Clone, Copy)]
struct Entry {
    node: usize,
    blank: f64,
    label: f64,
    both: f64,
}

/// What the next beam is chosen from: a prefix of this beam, longer by a label or not.
#[derive(Clone, Copy)]
struct Candidate {
    place: usize,
    longer_by: Option<usize>,
    blank: f64,
    label: f64,
    both: f64,
}

struct Search {
    blank: usize,
    width: usize,
    nodes: Vec<Node>,
    children: HashMap<(usize, usize), usize>,
    beam: Vec<Entry>,
    candidates: Vec<Candidate>,
    /// Whether the beam has an entry's prefix with a label behind it, for each entry and label.
    has_longer: Vec<bool>,
}

impl Search {
    fn new(blank: usize, width: usize) -> Result<Self> {
        let mut nodes = reserved(1, "prefixes")?;
        nodes.push(Node { parent: NO_PLACE, label: blank, place: 0 });
        let mut beam = reserved(1, "a beam")?;
        beam.push(Entry { node: ROOT, blank: 0.0, label: ZERO, both: 0.0 });
        let (children, candidates, has_longer) = (HashMap::new(), Vec::new(), Vec::new());
        Ok(Self { blank, width, nodes, children, beam, candidates, has_longer })
    }

    /// Goes on by a step whose classes have these logarithms of probabilities.
    fn step(&mut self, log_p: &[f64]) -> Result<()> {
        self.candidates.clear();
        let most = self.beam.len().saturating_mul(log_p.len().saturating_add(1));
        grow(&mut self.candidates, most, "the candidates of a beam")?;
        self.has_longer.clear();
        grow(&mut self.has_longer, most, "the prefixes of a beam")?;
        self.has_longer.resize(most, false);
        self.stay(log_p);
        for place in 0..self.beam.len() {
            self.lengthen(place, log_p);
        }
        self.choose()
    }

    /// Every prefix once more: behind a blank, its last label again, or reached from its parent.
    fn stay(&mut self, log_p: &[f64]) {
        for (place, entry) in self.beam.iter().enumerate() {
            let node = &self.nodes[entry.node];
            let blank = entry.both + log_p[self.blank];
            let mut label = ZERO;
            if entry.node != ROOT {
                label = entry.label + log_p[node.label];
                let parent_place = self.nodes[node.parent].place;
                if let Some(parent) = self.beam.get(parent_place) {
                    self.has_longer[parent_place * log_p.len() + node.label] = true;
                    let from = self.before(parent, node.label);
                    label = log_add(label, from + log_p[node.label]);
                }
            }
            let both = log_add(blank, label);
            self.candidates.push(Candidate { place, longer_by: None, blank, label, both });
        }
    }

    /// The paths of a prefix that a label may follow to make a longer one.
    fn before(&self, entry: &Entry, label: usize) -> f64 {
        if self.nodes[entry.node].label == label { entry.blank } else { entry.both }
    }

    /// A prefix with each label behind it, unless the beam has the result already.
    fn lengthen(&mut self, place: usize, log_p: &[f64]) {
        let entry = self.beam[place];
        let has_longer = &self.has_longer[place * log_p.len()..][..log_p.len()];
        for (label, log_p) in log_p.iter().enumerate() {
            if label == self.blank || has_longer[label] {
                continue;
            }
            let both = self.before(&entry, label) + log_p;
            let longer_by = Some(label);
            self.candidates.push(Candidate { place, longer_by, blank: ZERO, label: both, both });
        }
    }

    /// The best candidates become the beam.
    fn choose(&mut self) -> Result<()> {
        self.candidates.retain(|candidate| candidate.both > ZERO);
        if self.candidates.len() > self.width {
            self.candidates.select_nth_unstable_by(self.width - 1, Candidate::order);
            self.candidates.truncate(self.width);
        }
        self.candidates.sort_unstable_by(Candidate::order);
        let mut next = reserved(self.candidates.len(), "a beam")?;
        for candidate in &self.candidates {
            let &Candidate { place, longer_by, blank, label, both } = candidate;
            let parent = self.beam[place].node;
            let node = match longer_by {
                None => parent,
                Some(label) => child(&mut self.nodes, &mut self.children, parent, label)?,
            };
            next.push(Entry { node, blank, label, both });
        }
        self.beam.iter().for_each(|entry| self.nodes[entry.node].place = NO_PLACE);
        for (place, entry) in next.iter().enumerate() {
            self.nodes[entry.node].place = place;
        }
        self.beam = next;
        Ok(())
    }

    fn hypotheses(&self) -> Result<Vec<Hypothesis>> {
        let mut all = reserved(self.beam.len(), "hypotheses")?;
        for entry in &self.beam {
            let labels = self.labels(entry.node)?;
            all.push(Hypothesis { labels, log_probability: entry.both });
        }
        Ok(all)
    }

    fn labels(&self, last: usize) -> Result<Vec<usize>> {
        let up = |&node: &usize| Some(self.nodes[node].parent);
        let path = || std::iter::successors(Some(last), up).take_while(|&node| node != ROOT);
        let mut labels = reserved(path().count(), "the labels of a hypothesis")?;
        labels.extend(path().map(|node| self.nodes[node].label));
        labels.reverse();
        Ok(labels)
    }
}

/// The one node that stands for `parent` with `label` behind it.
fn child(
    nodes: &mut Vec<Node>, children: &mut HashMap<(usize, usize), usize>, parent: usize,
    label: usize,
) -> Result<usize> {
    if let Some(&node) = children.get(&(parent, label)) {
        return Ok(node);
    }
    let purpose = "the prefixes of a beam search";
    grow(nodes, 1, purpose)?;
    children.try_reserve(1).map_err(|_| Error::Memory { purpose, bytes: None })?;
    nodes.push(Node { parent, label, place: NO_PLACE });
    children.insert((parent, label), nodes.len() - 1);
    Ok(nodes.len() - 1)
}

/// Room for `n` more.
fn grow<T>(vector: &mut Vec<T>, n: usize, purpose: &'static str) -> Result<()> {
    let bytes = vector.len().checked_add(n).and_then(|n| n.checked_mul(size_of::<T>()));
    vector.try_reserve(n).map_err(|_| Error::Memory { purpose, bytes })
}

impl Candidate {
    /// Best first; of equals the shorter prefix, then the one that stood first, then by label.
    fn order(&self, other: &Self) -> Ordering {
        let key = |c: &Self| (c.longer_by.is_some(), c.place, c.longer_by);
        other.both.total_cmp(&self.both).then_with(|| key(self).cmp(&key(other)))
    }
}

/// `ln(e^a + e^b)`
fn log_add(a: f64, b: f64) -> f64 {
    let (most, least) = if a < b { (b, a) } else { (a, b) };
    if least == ZERO { most } else { most + libm::log1p(libm::exp(least - most)) }
}
