//! The binding: borrows NumPy's arrays, detaches from the interpreter, calls the core, converts.

mod arrays;
mod backward;
mod files;
mod forward;
mod labelling;
mod train;

use pyo3::exceptions::{PyMemoryError, PyValueError};
use pyo3::prelude::*;

use crate::error::Error;
use crate::{Isa, parallel};

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Argument { .. } | Error::InstructionSet { .. } => PyValueError::new_err(text),
            Error::Memory { .. } => PyMemoryError::new_err(text),
        }
    }
}

#[pyfunction]
fn set_num_threads(n: &Bound<'_, PyAny>) -> PyResult<()> {
    let name = arrays::Name { operation: "set_num_threads", argument: "n" };
    if let Some(n) = arrays::threads(Some(n), name)? {
        parallel::set_num_threads(n)?;
    }
    Ok(())
}

#[pyfunction]
fn get_num_threads() -> PyResult<usize> {
    Ok(parallel::num_threads()?)
}

#[pyfunction]
fn isa() -> PyResult<&'static str> {
    Ok(Isa::current()?.name())
}

#[pyfunction]
fn available_isas() -> Vec<&'static str> {
    Isa::present().into_iter().map(Isa::name).collect()
}

#[pyfunction]
fn force_isa(name: &str) -> PyResult<()> {
    Isa::named(name)?.make_current();
    Ok(())
}

#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The private module `recurra._core`; its stub is `_core.pyi`.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(get_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(isa, module)?)?;
    module.add_function(wrap_pyfunction!(available_isas, module)?)?;
    module.add_function(wrap_pyfunction!(force_isa, module)?)?;
    module.add_function(wrap_pyfunction!(version, module)?)?;
    forward::register(module)?;
    backward::register(module)?;
    train::register(module)?;
    labelling::register(module)?;
    files::register(module)
}
