use crate::harness::Case;
use crate::harness::recipe::{Recipe, distinct, indices, normal, uniform};
use std::f64::consts::{FRAC_PI_2, PI};
use wgrec::kernels::elementwise::{Chain, Fun};
use wgrec::tensor::Tensor;

/// The function in plain f64 code, and where it can be judged by differences.
fn definition(fun: Fun) -> (fn(f64, f64) -> f64, Domain) {
    use Domain::*;
    match fun {
        Fun::Tanh => (|a, _| a.tanh(), Smooth),
        Fun::Sigmoid => (|a, _| 1.0 / (1.0 + (-a).exp()), Smooth),
        Fun::LogSigmoid => (|a, _| if a < -30.0 { a } else { -(-a).exp().ln_1p() }, Smooth),
        Fun::Softplus => (|a, _| if a > 30.0 { a + (-a).exp() } else { a.exp().ln_1p() }, Smooth),
        Fun::Relu => (|a, _| if a > 0.0 { a } else { 0.0 }, Kinks),
        Fun::Gelu => (|a, _| a * normal_cdf(a), Smooth),
        Fun::GeluSlope => (|a, _| normal_cdf(a) + a * (-a * a / 2.0).exp() / std::f64::consts::TAU.sqrt(), Smooth),
        Fun::GeluTanh => {
            (|a, _| a / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (a + 0.044715 * a.powi(3))).tanh()), Smooth)
        }
        Fun::Exp => (|a, _| a.exp(), Smooth),
        Fun::Log => (|a, _| a.ln(), Positive),
        Fun::Sqrt => (|a, _| a.sqrt(), Positive),
        Fun::Square => (|a, _| a.powi(2), Smooth),
        Fun::Abs => (|a, _| a.abs(), Kinks),
        Fun::Sign => (|a, _| if a == 0.0 { 0.0 } else { a.signum() }, Flat),
        Fun::Sin => (|a, _| a.sin(), Smooth),
        Fun::Cos => (|a, _| a.cos(), Smooth),
        Fun::Neg => (|a, _| -a, Smooth),
        Fun::Reciprocal => (|a, _| 1.0 / a, Positive),
        Fun::NonZero => (|a, _| (a != 0.0) as u32 as f64, Flat),
        Fun::FiniteOrZero => (|a, _| a, Flat),
        Fun::FiniteOrNan => (|a, _| a, Smooth),
        Fun::Add => (|a, b| a + b, Smooth),
        Fun::Sub => (|a, b| a - b, Smooth),
        Fun::Mul => (|a, b| a * b, Smooth),
        Fun::Div => (|a, b| a / b, Positive),
        Fun::Max => (f64::max, Kinks),
        Fun::Min => (f64::min, Kinks),
        Fun::Greater => (|a, b| (a > b) as u32 as f64, Flat),
        Fun::Equal => (|a, b| (a == b) as u32 as f64, Flat),
    }
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

#[derive(PartialEq)]
enum Domain {
    Smooth,
    /// Inputs keep a distance from 0 and from each other.
    Kinks,
    Positive,
    /// No gradient, by design.
    Flat,
}

impl Domain {
    fn recipe(&self, n: usize, operand: usize) -> Recipe {
        match self {
            Domain::Smooth => normal([n]).scale(2.0),
            // Shifted a little for the second operand, so that the two are never near.
            Domain::Kinks => distinct([n]).map(move |x| x + operand as f64 / 48.0),
            Domain::Positive => uniform([n], 0.3, 4.0),
            Domain::Flat => normal([n]).map(f64::round),
        }
    }
}

pub fn cases() -> Vec<Case> {
    [alone(), extremes(), ties(), broadcasts(), chains()].concat()
}

/// Each function of the table on its own.
fn alone() -> Vec<Case> {
    let one = |&fun: &Fun| {
        let (f, domain) = definition(fun);
        Case::grid(&format!("{fun:?}"), [[1], [257]], move |c, [n]| {
            let operands = (0..fun.arity()).map(|i| domain.recipe(n, i));
            let c = if fun == Fun::FiniteOrZero { c.hides_nan() } else { c };
            operands
                .fold(c, if domain == Domain::Flat { Case::fixed } else { Case::input })
                .op(move |g, x| g.push(Chain::of(fun), x))
                .reference(move |x| {
                    let (a, b) = (x[0].to_f64(), x[x.len() - 1].to_f64());
                    vec![a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect()]
                })
                .tolerance(1e-6, 4e-6)
        })
    };
    Fun::ALL.iter().flat_map(one).collect()
}

/// Far from 0, at 0, and next to it: what must neither overflow nor lose its sign.
fn extremes() -> Vec<Case> {
    let smooth = [Fun::Tanh, Fun::Sigmoid, Fun::LogSigmoid, Fun::Softplus, Fun::Gelu, Fun::GeluTanh];
    let values = [0.0, 1e-30, -1e-30, 1e-3, -1e-3, 15.5, -15.5, 40.0, -40.0, 87.0, -87.0, 1e4, -1e4];
    let one = |fun: Fun| {
        let f = definition(fun).0;
        let recipe = normal([values.len()]);
        let recipe = values.iter().enumerate().fold(recipe, |r, (i, &v)| r.plant(v, [i]));
        Case::new(format!("extremes_{fun:?}"))
            .input(recipe)
            .op(move |g, x| g.push(Chain::of(fun), x))
            .reference(move |x| vec![x[0].to_f64().iter().map(|&a| f(a, a)).collect()])
            .tolerance(1e-6, 4e-6)
    };
    let masked = Case::new("masked_logits")
        .fixed(normal([6]).plant(-3e38, [1, 3]))
        .ops(|_, x| vec![x[0].exp(), x[0].sigmoid(), x[0].tanh(), x[0].softplus()])
        .tolerance(1e-6, 4e-6);
    // Nothing infinite comes out at 0, forward or backward, where the formulas have no value.
    let at_zero = Case::new("at_zero")
        .fixed(uniform([6], 0.1, 2.0).plant(0.0, [0, 2, 4]))
        .ops(|g, x| {
            let x = x[0];
            let loss = (x.sqrt() + x.reciprocal() + x.log()).sum_all();
            let dx = g.gradients(loss, &[x]).expect("all have rules")[0].dense(x);
            vec![x.sqrt(), x.reciprocal(), x.log(), dx]
        })
        .tolerance(1e-6, 1e-5);
    let none = Case::new("not_finite")
        .fixed(normal([7]).plant(f64::INFINITY, [0]).plant(f64::NEG_INFINITY, [3]).plant(f64::NAN, [5]))
        .op(|_, x| x[0].finite_or_zero())
        .hides_nan()
        .reference(|x| vec![x[0].to_f64().iter().map(|&a| if a.is_finite() { a } else { 0.0 }).collect()]);
    // Turns that few digits are left of: near multiples of pi, past what sine tables take, and up to the largest numbers.
    let angles = [0.0, 1e-30, PI, -FRAC_PI_2, 355.0, 8191.998, 8192.0, 16384.125, 1e6, 5e8, 7.729179e28, 3.4e38];
    let recipe = normal([3000]).map(|x| x.signum() * (x * 20.0).abs().exp().min(3.4e38));
    let recipe = angles.iter().enumerate().fold(recipe, |r, (i, &v)| r.plant(v, [2 * i]).plant(-v, [2 * i + 1]));
    let angles = Case::new("angles")
        .fixed(recipe)
        .ops(|_, x| vec![x[0].sin(), x[0].cos()])
        .reference(|x| [f64::sin, f64::cos].map(|f| x[0].to_f64().into_iter().map(f).collect()).into())
        .tolerance(3e-7, 3e-7);
    smooth.into_iter().map(one).chain([masked, at_zero, none, angles]).collect()
}

/// Equal operands: the gradient of max and min goes to the first, all of it.
fn ties() -> Vec<Case> {
    let case = Case::new("ties")
        .fixed(normal([9]).map(f64::round))
        .fixed(normal([9]).map(f64::round).plant(0.0, [0, 1]))
        .ops(|g, x| {
            let (a, b) = (x[0], x[1]);
            let mut outputs = vec![a.equal(b), a.greater(b), a.max(b), a.min(b)];
            for y in [a.max(b), a.min(b)] {
                let gradients = g.gradients(y.sum_all(), &[a, b]).expect("both have rules");
                outputs.extend(gradients.iter().zip([a, b]).map(|(gradient, v)| gradient.dense(v)));
            }
            outputs
        })
        .reference(|x| {
            let (a, b) = (x[0].to_f64(), x[1].to_f64());
            let each = |f: fn(f64, f64) -> f64| a.iter().zip(&b).map(|(&a, &b)| f(a, b)).collect::<Vec<_>>();
            let one_if = |f: fn(f64, f64) -> bool| a.iter().zip(&b).map(|(&a, &b)| f(a, b) as u32 as f64).collect();
            vec![
                one_if(|a, b| a == b),
                one_if(|a, b| a > b),
                each(f64::max),
                each(f64::min),
                one_if(|a, b| a >= b),
                one_if(|a, b| a < b),
                one_if(|a, b| a <= b),
                one_if(|a, b| a > b),
            ]
        });
    vec![case]
}

/// Operands of fewer axes and of extents 1, whose gradients are summed back.
fn broadcasts() -> Vec<Case> {
    let shapes: [(&str, &[usize], &[usize]); 8] = [
        ("scalar", &[5, 7], &[]),
        ("row", &[13, 257], &[257]),
        ("column", &[13, 257], &[13, 1]),
        ("outer", &[19, 1], &[1, 23]),
        ("middle", &[5, 1, 7], &[3, 1]),
        ("both", &[2, 1, 4, 1], &[3, 1, 5]),
        ("inner", &[4, 3, 5], &[4, 1, 5]),
        ("ones", &[1, 1], &[1]),
    ];
    let one = |(name, a, b): (&str, &[usize], &[usize])| {
        Case::new(format!("broadcast_{name}"))
            .input(normal(a.to_vec()))
            .input(normal(b.to_vec()))
            .op(|_, x| x[0] * x[1])
            .reference(|x| vec![product(&x[0], &x[1])])
            .tolerance(1e-5, 1e-5)
    };
    // A table that is repeated, in rows of several blocks and of less than one, next to an operand that keeps its axes apart.
    let tables: [(&str, &[usize], &[usize]); 4] = [
        ("long", &[3, 5, 300], &[5, 300]),
        ("short", &[3, 7, 70], &[7, 70]),
        ("shorter", &[3, 7, 9], &[7, 9]),
        ("copies", &[2, 3, 5, 300], &[2, 1, 5, 300]),
    ];
    let masked = |(name, a, b): (&str, &[usize], &[usize])| {
        let mask = [&a[..a.len() - 1], &[1]].concat();
        Case::new(format!("repeated_{name}"))
            .input(normal(a.to_vec()))
            .input(normal(b.to_vec()))
            .input(normal(mask))
            .op(|_, x| (x[0] + x[1]) * x[2])
            .reference(|x| {
                let ones = Tensor::f32(x[0].shape.clone(), vec![1.0; x[0].shape.elements()]);
                let all = [product(&ones, &x[1]), product(&ones, &x[2])];
                let [b, mask] = &all;
                vec![x[0].to_f64().iter().zip(b).zip(mask).map(|((a, b), mask)| (a + b) * mask).collect()]
            })
            .tolerance(1e-5, 1e-5)
    };
    shapes.into_iter().map(one).chain(tables.into_iter().map(masked)).collect()
}

fn product(a: &Tensor, b: &Tensor) -> Vec<f64> {
    let shape = a.shape.broadcast(&b.shape).expect("chosen so");
    let strides = shape.strides();
    let at = |t: &Tensor, i: usize| {
        let skipped = shape.len() - t.shape.len();
        let own = t.shape.strides();
        let axes = (0..t.shape.len()).filter(|&k| t.shape[k] != 1);
        t.to_f64()[axes.map(|k| i / strides[skipped + k] % shape[skipped + k] * own[k]).sum::<usize>()]
    };
    (0..shape.elements()).map(|i| at(a, i) * at(b, i)).collect()
}

fn chains() -> Vec<Case> {
    let fused = Case::grid("chain", [[1, 1], [17, 255], [3, 256]], |c, [rows, cols]| {
        c.input(normal([rows, cols]))
            .input(normal([rows, cols]))
            .input(normal([cols]))
            .op(|_, x| {
                let gate = (x[0] * x[1] + x[2]).sigmoid();
                let new = (x[0] - x[1].scale(0.5)).tanh();
                gate * new + (x[0].constant_like(1.0) - gate) * x[1].square()
            })
            .reference(|x| {
                let (a, b, bias) = (x[0].to_f64(), x[1].to_f64(), x[2].to_f64());
                let one = |i: usize| {
                    let gate = 1.0 / (1.0 + (-(a[i] * b[i] + bias[i % bias.len()])).exp());
                    gate * (a[i] - b[i] / 2.0).tanh() + (1.0 - gate) * b[i] * b[i]
                };
                vec![(0..a.len()).map(one).collect()]
            })
            .tolerance(1e-5, 1e-5)
    });
    // As many inputs as one launch binds, and one more.
    let wide = [7, 8].map(|n| {
        (0..n)
            .fold(Case::new(format!("chain_of_{n}_inputs")), |c, _| c.input(normal([37])))
            .op(|_, x| x.iter().copied().reduce(|a, b| a * b.sigmoid() + b).expect("there are inputs"))
            .tolerance(1e-5, 1e-5)
    });
    let long = Case::new("chain_of_60_operations")
        .input(normal([300]))
        .op(|_, x| (0..20).fold(x[0], |y, _| (y.scale(0.5) - x[0]).sin()))
        .tolerance(1e-5, 1e-5);
    let integers = Case::new("integers")
        .fixed(indices([3, 50], 9))
        .input(normal([3, 50]))
        .op(|_, x| x[0].nonzero() * x[1])
        .reference(|x| {
            let (ids, y) = (x[0].as_u32(), x[1].to_f64());
            vec![ids.iter().zip(y).map(|(&i, y)| if i == 0 { 0.0 } else { y }).collect()]
        });
    // More workgroups than one dimension of a grid takes.
    let large = Case::new("large_4194497").fixed(uniform([4_194_497], -1.0, 1.0)).op(|_, x| x[0].square());
    [fused, wide.into(), vec![long, integers, large]].concat()
}
