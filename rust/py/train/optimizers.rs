//! The optimizers' steps, averages of weights, and what schedules are made of.
//!
//! A call takes lists with a place for each parameter: one crossing of the border for all of them,
//! and all of them are checked before the first one changes.

use pyo3::prelude::*;

use super::Object;
use super::lists::{List, Lists, as_many, in_place};
use crate::optim::{self, Adadelta, Adagrad, Adam, Adamax, Lion, Nadam, Radam, RmsProp, Sgd};

#[pyfunction]
#[pyo3(signature = (params, grads, momentum_buffers, lr, momentum, weight_decay, nesterov, first, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn sgd_step<'py>(
    params: &List<'py>, grads: &List<'py>, momentum_buffers: Option<&List<'py>>, lr: f64,
    momentum: f64, weight_decay: f64, nesterov: bool, first: Vec<bool>,
    n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Sgd { lr, momentum, weight_decay, nesterov };
    let (moments, optional) = ([], [("momentum_buffer", momentum_buffers)]);
    let lists = Lists::new("sgd_step", params, grads, moments, optional, n_threads);
    as_many("sgd_step", "first", params, first.len())?;
    in_place!(lists, |i, threads, p, g, [], [buffer]| {
        rule.step(p, g, buffer, first[i], threads)
    })
}

#[pyfunction]
#[pyo3(signature = (params, grads, m, v, v_max, lr, beta1, beta2, eps, weight_decay, decoupled, steps, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn adam_step<'py>(
    params: &List<'py>, grads: &List<'py>, m: &List<'py>, v: &List<'py>, v_max: Option<&List<'py>>,
    lr: f64, beta1: f64, beta2: f64, eps: f64, weight_decay: f64, decoupled: bool, steps: Vec<u64>,
    n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Adam { lr, beta1, beta2, eps, weight_decay, decoupled };
    let (moments, optional) = ([("m", m), ("v", v)], [("v_max", v_max)]);
    let lists = Lists::new("adam_step", params, grads, moments, optional, n_threads);
    counted("adam_step", params, &steps)?;
    in_place!(lists, |i, threads, p, g, [m, v], [v_max]| match v_max {
        None => rule.step(p, g, m, v, steps[i], threads),
        Some(v_max) => rule.amsgrad_step(p, g, [m, v, v_max], steps[i], threads),
    })
}

/// The products of mu so far, in a new list.
#[pyfunction]
#[pyo3(signature = (params, grads, m, v, lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled, steps, mu_products, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn nadam_step<'py>(
    params: &List<'py>, grads: &List<'py>, m: &List<'py>, v: &List<'py>, lr: f64, beta1: f64,
    beta2: f64, eps: f64, weight_decay: f64, momentum_decay: f64, decoupled: bool, steps: Vec<u64>,
    mut mu_products: Vec<f64>, n_threads: Option<&Object<'py>>,
) -> PyResult<Vec<f64>> {
    let rule = Nadam { lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled };
    let (moments, optional) = ([("m", m), ("v", v)], []);
    let lists = Lists::new("nadam_step", params, grads, moments, optional, n_threads);
    counted("nadam_step", params, &steps)?;
    as_many("nadam_step", "mu_products", params, mu_products.len())?;
    mu_products.iter().try_for_each(|&product| Nadam::check_product(product))?;
    in_place!(lists, |i, threads, p, g, [m, v], []| {
        mu_products[i] = rule.step(p, g, [m, v], steps[i], mu_products[i], threads)?;
        Ok(())
    })?;
    Ok(mu_products)
}

#[pyfunction]
#[pyo3(signature = (params, grads, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, steps, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn radam_step<'py>(
    params: &List<'py>, grads: &List<'py>, m: &List<'py>, v: &List<'py>, lr: f64, beta1: f64,
    beta2: f64, eps: f64, weight_decay: f64, decoupled: bool, steps: Vec<u64>,
    n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Radam { lr, beta1, beta2, eps, weight_decay, decoupled };
    let (moments, optional) = ([("m", m), ("v", v)], []);
    let lists = Lists::new("radam_step", params, grads, moments, optional, n_threads);
    counted("radam_step", params, &steps)?;
    in_place!(lists, |i, threads, p, g, [m, v], []| rule.step(p, g, m, v, steps[i], threads))
}

#[pyfunction]
#[pyo3(signature = (params, grads, m, u, lr, beta1, beta2, eps, weight_decay, steps, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn adamax_step<'py>(
    params: &List<'py>, grads: &List<'py>, m: &List<'py>, u: &List<'py>, lr: f64, beta1: f64,
    beta2: f64, eps: f64, weight_decay: f64, steps: Vec<u64>, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Adamax { lr, beta1, beta2, eps, weight_decay };
    let (moments, optional) = ([("m", m), ("u", u)], []);
    let lists = Lists::new("adamax_step", params, grads, moments, optional, n_threads);
    counted("adamax_step", params, &steps)?;
    in_place!(lists, |i, threads, p, g, [m, u], []| rule.step(p, g, m, u, steps[i], threads))
}

#[pyfunction]
#[pyo3(signature = (params, grads, v, averages, momentum_buffers, lr, alpha, eps, weight_decay, momentum, centered, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn rmsprop_step<'py>(
    params: &List<'py>, grads: &List<'py>, v: &List<'py>, averages: Option<&List<'py>>,
    momentum_buffers: Option<&List<'py>>, lr: f64, alpha: f64, eps: f64, weight_decay: f64,
    momentum: f64, centered: bool, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = RmsProp { lr, alpha, eps, weight_decay, momentum, centered };
    let moments = [("v", v)];
    let optional = [("average", averages), ("momentum_buffer", momentum_buffers)];
    let lists = Lists::new("rmsprop_step", params, grads, moments, optional, n_threads);
    in_place!(lists, |_i, threads, p, g, [v], [average, buffer]| {
        rule.step(p, g, v, average, buffer, threads)
    })
}

#[pyfunction]
#[pyo3(signature = (params, grads, sums, lr, lr_decay, eps, weight_decay, steps, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn adagrad_step<'py>(
    params: &List<'py>, grads: &List<'py>, sums: &List<'py>, lr: f64, lr_decay: f64, eps: f64,
    weight_decay: f64, steps: Vec<u64>, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Adagrad { lr, lr_decay, eps, weight_decay };
    let (moments, optional) = ([("sum", sums)], []);
    let lists = Lists::new("adagrad_step", params, grads, moments, optional, n_threads);
    counted("adagrad_step", params, &steps)?;
    in_place!(lists, |i, threads, p, g, [sum], []| rule.step(p, g, sum, steps[i], threads))
}

#[pyfunction]
#[pyo3(signature = (params, grads, v, u, lr, rho, eps, weight_decay, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn adadelta_step<'py>(
    params: &List<'py>, grads: &List<'py>, v: &List<'py>, u: &List<'py>, lr: f64, rho: f64,
    eps: f64, weight_decay: f64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Adadelta { lr, rho, eps, weight_decay };
    let (moments, optional) = ([("v", v), ("u", u)], []);
    let lists = Lists::new("adadelta_step", params, grads, moments, optional, n_threads);
    in_place!(lists, |_i, threads, p, g, [v, u], []| rule.step(p, g, v, u, threads))
}

#[pyfunction]
#[pyo3(signature = (params, grads, m, lr, beta1, beta2, weight_decay, n_threads=None))]
#[allow(clippy::too_many_arguments)]
fn lion_step<'py>(
    params: &List<'py>, grads: &List<'py>, m: &List<'py>, lr: f64, beta1: f64, beta2: f64,
    weight_decay: f64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let rule = Lion { lr, beta1, beta2, weight_decay };
    let (moments, optional) = ([("m", m)], []);
    let lists = Lists::new("lion_step", params, grads, moments, optional, n_threads);
    in_place!(lists, |_i, threads, p, g, [m], []| rule.step(p, g, m, threads))
}

#[pyfunction]
#[pyo3(signature = (averages, values, weight, n_threads=None))]
fn blend_<'py>(
    averages: &List<'py>, values: &List<'py>, weight: f64, n_threads: Option<&Object<'py>>,
) -> PyResult<()> {
    let mut lists = Lists::new("blend_", averages, values, [], [], n_threads);
    (lists.params.0, lists.grads.0) = ("average", "values");
    in_place!(lists, |_i, threads, a, x, [], []| optim::blend(a, x, weight, threads))
}

/// A step's number for each parameter, from 1 on.
fn counted(operation: &'static str, params: &List<'_>, steps: &[u64]) -> PyResult<()> {
    as_many(operation, "steps", params, steps.len())?;
    Ok(steps.iter().try_for_each(|&step| optim::counted(operation, step))?)
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
