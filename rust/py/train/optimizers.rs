//! The optimizers' steps, averages of weights, and what schedules are made of.

use pyo3::prelude::*;

use super::inplace::{Array, alike, elements, elements_mut, readable, untyped, writable};
use super::{Object, asked};
use crate::error::Result;
use crate::optim::{self, Adadelta, Adagrad, Adam, Adamax, Lion, Nadam, Radam, RmsProp, Sgd};
use crate::py::arrays::{Name, Number, Precision, precision};

/// The arrays of one call. Those of `optional` may be absent.
struct Arrays<'a, 'py, const M: usize, const K: usize> {
    operation: &'static str,
    param: (&'static str, &'a Object<'py>),
    grad: (&'static str, &'a Object<'py>),
    moments: [(&'static str, &'a Object<'py>); M],
    optional: [(&'static str, Option<&'a Object<'py>>); K],
    n_threads: Option<&'a Object<'py>>,
}

/// `arrays.run` with a closure that is compiled for both precisions.
macro_rules! in_place {
    ($arrays:expr, $run:expr) => {{
        let arrays = $arrays;
        let (argument, param) = arrays.param;
        let name = Name { operation: arrays.operation, argument };
        match precision(&untyped(param, name)?, name)? {
            Precision::Single => arrays.run::<f32, _>($run),
            Precision::Double => arrays.run::<f64, _>($run),
        }
    }};
}

impl<'py, const M: usize, const K: usize> Arrays<'_, 'py, M, K> {
    /// Calls `step` with the elements of all arrays, without the interpreter.
    fn run<T: Number, O: Send>(
        self,
        step: impl FnOnce(
            &mut [T],
            &[T],
            [&mut [T]; M],
            [Option<&mut [T]>; K],
            Option<usize>,
        ) -> Result<O>
        + Send,
    ) -> PyResult<O> {
        let threads = asked(self.operation, self.n_threads)?;
        let py = self.param.1.py();
        let (param, grad) = (self.changed::<T>(self.param)?, self.grad::<T>()?);
        let mut others = Vec::with_capacity(M + K);
        for (argument, object) in self.present() {
            others.push((argument, self.changed::<T>((argument, object))?));
        }
        let mut all = vec![(self.param.0, &param), (self.grad.0, &grad)];
        all.extend(others.iter().map(|(argument, array)| (*argument, array)));
        alike(self.operation, &all)?;
        // SAFETY: `alike` found the arrays apart.
        let p = unsafe { elements_mut(&param)? };
        // SAFETY: as above.
        let slices = others.iter().map(|(_, array)| unsafe { elements_mut(array) });
        let mut slices = slices.collect::<PyResult<Vec<_>>>()?.into_iter();
        let g = elements(&grad)?;
        let moments = std::array::from_fn(|_| slices.next().unwrap_or_default());
        let optional = self.optional.map(|(_, object)| object.and_then(|_| slices.next()));
        Ok(py.detach(|| step(p, g, moments, optional, threads))?)
    }

    /// The moments that there are, in their order.
    fn present(&self) -> impl Iterator<Item = (&'static str, &Object<'py>)> {
        let optional = self.optional.iter().filter_map(|&(name, object)| Some((name, object?)));
        self.moments.iter().copied().chain(optional)
    }

    fn changed<T: Number>(
        &self, (argument, object): (&'static str, &Object<'py>),
    ) -> PyResult<Array<'py, T>> {
        writable::<T>(object, Name { operation: self.operation, argument }, self.like())
    }

    fn grad<T: Number>(&self) -> PyResult<Array<'py, T>> {
        let (argument, object) = self.grad;
        readable::<T>(object, Name { operation: self.operation, argument }, self.like())
    }

    fn like(&self) -> &'static str {
        if self.param.0 == "average" { "average has" } else { "param has" }
    }
}

#[pyfunction]
#[pyo3(signature = (param, grad, momentum_buffer, lr, momentum, weight_decay, nesterov, first, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn sgd_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, momentum_buffer: Option<&Object<'py>>, lr: f64,
    momentum: f64, weight_decay: f64, nesterov: bool, first: bool, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Sgd { lr, momentum, weight_decay, nesterov };
    let (param, grad) = (("param", param), ("grad", grad));
    let (moments, optional) = ([], [("momentum_buffer", momentum_buffer)]);
    let arrays = Arrays { operation: "sgd_step", param, grad, moments, optional, n_threads };
    in_place!(arrays, |p, g, [], [momentum_buffer], threads| rule.step(
        p,
        g,
        momentum_buffer,
        first,
        threads
    ))
}

#[pyfunction]
#[pyo3(signature = (param, grad, m, v, v_max, lr, beta1, beta2, eps, weight_decay, decoupled, step, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn adam_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, m: &Object<'py>, v: &Object<'py>,
    v_max: Option<&Object<'py>>, lr: f64, beta1: f64, beta2: f64, eps: f64, weight_decay: f64,
    decoupled: bool, step: u64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Adam { lr, beta1, beta2, eps, weight_decay, decoupled };
    let (param, grad) = (("param", param), ("grad", grad));
    let (moments, optional) = ([("m", m), ("v", v)], [("v_max", v_max)]);
    let arrays = Arrays { operation: "adam_step", param, grad, moments, optional, n_threads };
    in_place!(arrays, |p, g, [m, v], [v_max], threads| match v_max {
        None => rule.step(p, g, m, v, step, threads),
        Some(v_max) => rule.amsgrad_step(p, g, [m, v, v_max], step, threads),
    })
}

#[pyfunction]
#[pyo3(signature = (param, grad, m, v, lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled, step, mu_product, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn nadam_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, m: &Object<'py>, v: &Object<'py>, lr: f64, beta1: f64,
    beta2: f64, eps: f64, weight_decay: f64, momentum_decay: f64, decoupled: bool, step: u64,
    mu_product: f64, n_threads: Option<&Object<'py>>,
) -> PyResult<f64> {
    let rule = Nadam { lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled };
    let (param, grad) = (("param", param), ("grad", grad));
    let (moments, optional) = ([("m", m), ("v", v)], []);
    let arrays = Arrays { operation: "nadam_step", param, grad, moments, optional, n_threads };
    in_place!(arrays, |p, g, [m, v], [], threads| rule.step(
        p,
        g,
        [m, v],
        step,
        mu_product,
        threads
    ))
}

#[pyfunction]
#[pyo3(signature = (param, grad, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn radam_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, m: &Object<'py>, v: &Object<'py>, lr: f64, beta1: f64,
    beta2: f64, eps: f64, weight_decay: f64, decoupled: bool, step: u64,
    n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Radam { lr, beta1, beta2, eps, weight_decay, decoupled };
    let (param, grad) = (("param", param), ("grad", grad));
    let (moments, optional) = ([("m", m), ("v", v)], []);
    let arrays = Arrays { operation: "radam_step", param, grad, moments, optional, n_threads };
    in_place!(arrays, |p, g, [m, v], [], threads| rule.step(p, g, m, v, step, threads))
}

#[pyfunction]
#[pyo3(signature = (param, grad, m, u, lr, beta1, beta2, eps, weight_decay, step, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn adamax_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, m: &Object<'py>, u: &Object<'py>, lr: f64, beta1: f64,
    beta2: f64, eps: f64, weight_decay: f64, step: u64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Adamax { lr, beta1, beta2, eps, weight_decay };
    let (param, grad) = (("param", param), ("grad", grad));
    let (moments, optional) = ([("m", m), ("u", u)], []);
    let arrays = Arrays { operation: "adamax_step", param, grad, moments, optional, n_threads };
    in_place!(arrays, |p, g, [m, u], [], threads| rule.step(p, g, m, u, step, threads))
}

#[pyfunction]
#[pyo3(signature = (param, grad, v, average, momentum_buffer, lr, alpha, eps, weight_decay, momentum, centered, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn rmsprop_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, v: &Object<'py>, average: Option<&Object<'py>>,
    momentum_buffer: Option<&Object<'py>>, lr: f64, alpha: f64, eps: f64, weight_decay: f64,
    momentum: f64, centered: bool, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = RmsProp { lr, alpha, eps, weight_decay, momentum, centered };
    let (param, grad) = (("param", param), ("grad", grad));
    let (moments, optional) =
        ([("v", v)], [("average", average), ("momentum_buffer", momentum_buffer)]);
    let arrays = Arrays { operation: "rmsprop_step", param, grad, moments, optional, n_threads };
    in_place!(arrays, |p, g, [v], [average, momentum_buffer], threads| rule.step(
        p,
        g,
        v,
        average,
        momentum_buffer,
        threads
    ))
}

#[pyfunction]
#[pyo3(signature = (param, grad, sum, lr, lr_decay, eps, weight_decay, step, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn adagrad_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, sum: &Object<'py>, lr: f64, lr_decay: f64, eps: f64,
    weight_decay: f64, step: u64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Adagrad { lr, lr_decay, eps, weight_decay };
    let (param, grad) = (("param", param), ("grad", grad));
    let (moments, optional) = ([("sum", sum)], []);
    let arrays = Arrays { operation: "adagrad_step", param, grad, moments, optional, n_threads };
    in_place!(arrays, |p, g, [sum], [], threads| rule.step(p, g, sum, step, threads))
}

#[pyfunction]
#[pyo3(signature = (param, grad, v, u, lr, rho, eps, weight_decay, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn adadelta_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, v: &Object<'py>, u: &Object<'py>, lr: f64, rho: f64,
    eps: f64, weight_decay: f64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Adadelta { lr, rho, eps, weight_decay };
    let (param, grad) = (("param", param), ("grad", grad));
    let (moments, optional) = ([("v", v), ("u", u)], []);
    let arrays = Arrays { operation: "adadelta_step", param, grad, moments, optional, n_threads };
    in_place!(arrays, |p, g, [v, u], [], threads| rule.step(p, g, v, u, threads))
}

#[pyfunction]
#[pyo3(signature = (param, grad, m, lr, beta1, beta2, weight_decay, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn lion_step<'py>(
    param: &Object<'py>, grad: &Object<'py>, m: &Object<'py>, lr: f64, beta1: f64, beta2: f64,
    weight_decay: f64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Lion { lr, beta1, beta2, weight_decay };
    let (param, grad) = (("param", param), ("grad", grad));
    let (moments, optional) = ([("m", m)], []);
    let arrays = Arrays { operation: "lion_step", param, grad, moments, optional, n_threads };
    in_place!(arrays, |p, g, [m], [], threads| rule.step(p, g, m, threads))
}

#[pyfunction]
#[pyo3(signature = (average, values, weight, n_threads=None))]
fn blend_<'py>(
    average: &Object<'py>, values: &Object<'py>, weight: f64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let (param, grad) = (("average", average), ("values", values));
    let (moments, optional) = ([], []);
    let arrays = Arrays { operation: "blend_", param, grad, moments, optional, n_threads };
    in_place!(arrays, |a, x, [], [], threads| optim::blend(a, x, weight, threads))
}

/// As the core raises the betas of its steps: the same bits on every machine.
#[pyfunction]
fn pow(base: f64, exponent: f64) -> f64 {
    libm::pow(base, exponent)
}

/// The same bits on every machine.
#[pyfunction]
fn cos(x: f64) -> f64 {
    libm::cos(x)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(sgd_step, module)?)?;
    module.add_function(wrap_pyfunction!(adam_step, module)?)?;
    module.add_function(wrap_pyfunction!(nadam_step, module)?)?;
    module.add_function(wrap_pyfunction!(radam_step, module)?)?;
    module.add_function(wrap_pyfunction!(adamax_step, module)?)?;
    module.add_function(wrap_pyfunction!(rmsprop_step, module)?)?;
    module.add_function(wrap_pyfunction!(adagrad_step, module)?)?;
    module.add_function(wrap_pyfunction!(adadelta_step, module)?)?;
    module.add_function(wrap_pyfunction!(lion_step, module)?)?;
    module.add_function(wrap_pyfunction!(blend_, module)?)?;
    module.add_function(wrap_pyfunction!(pow, module)?)?;
    module.add_function(wrap_pyfunction!(cos, module)?)
}
