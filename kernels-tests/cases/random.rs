use crate::harness::recipe::normal;
use crate::harness::{Case, run};
use libtest_mimic::{Failed, Trial};
use wgrec::device::Device;
use wgrec::device::cpu::{Cpu, Precision};
use wgrec::graph::Step;
use wgrec::kernels::random::{Draw, Dropout, Noise};
use wgrec::tensor::Shape;
use wgrec::tensor::philox::philox;

const KEY: u32 = 0xBEEF_1234;

pub fn cases() -> Vec<Case> {
    let draw = |kind: Noise, absolute: f64| {
        move |c: Case, s: [usize; 2]| {
            c.ops(move |g, _| vec![g.push(Draw { kind, key: KEY, shape: s.into() }, &[g.step()])])
                .reference(move |_| vec![drawn(kind, s[0] * s[1], now())])
                .tolerance(absolute, 0.0)
                .step(now())
        }
    };
    let shapes = [[1, 1], [1, 3], [7, 257], [64, 256]];
    // Uniform numbers are equal to the bit on every device.
    let uniform = Case::grid("uniform", shapes, draw(Noise::Uniform, 0.0));
    let gaussian = Case::grid("gaussian", shapes, draw(Noise::Gaussian, 1e-5));
    let gumbel = Case::grid("gumbel", shapes, draw(Noise::Gumbel, 1e-5));
    let dropout = Case::grid("dropout", [[1, 1], [7, 257], [5, 3]], |c, s| {
        c.input(normal(s))
            .op(|g, x| g.push(Dropout { p: 0.3, key: KEY }, &[x[0], g.step()]))
            .reference(|x| {
                let kept = |(x, u): (f64, f64)| if (u as f32) < 0.3 { 0.0 } else { x / (1.0 - 0.3f32 as f64) };
                let x = x[0].to_f64();
                let mask = drawn(Noise::Uniform, x.len(), now());
                vec![x.into_iter().zip(mask).map(kept).collect()]
            })
            .step(now())
    });
    // The mask belongs to the element, whatever the elements are fused with.
    let fused = Case::new("dropout_in_a_chain")
        .input(normal([9, 31]))
        .ops(|g, x| {
            let y = g.scope("a", || x[0].square().dropout(0.5));
            let z = g.scope("b", || x[0].square().dropout(0.5));
            vec![y.tanh() + x[0], z, y]
        })
        .tolerance(1e-6, 1e-5);
    [uniform, gaussian, gumbel, dropout, vec![fused]].concat()
}

/// A step far into a run of a large seed: all words of the counter and the key are in use.
fn now() -> Step {
    Step { micro: 3, ..Step::at(0x1234_5678_9ABC_DEF0, 5_000_000_000, 1e-3, [0.9, 0.999]) }
}

fn drawn(kind: Noise, n: usize, step: Step) -> Vec<f64> {
    let key = [step.seed as u32 ^ ((step.seed >> 32) as u32).rotate_left(16), KEY];
    let words = (0..n.div_ceil(4)).flat_map(|group| {
        philox(key, [group as u32, step.micro, step.step as u32, (step.step >> 32) as u32]).map(|w| (w >> 8) as f64)
    });
    let all: Vec<f64> = words.collect();
    let size = 2f64.powi(24);
    let number = |i: usize| match kind {
        Noise::Uniform => all[i] / size,
        Noise::Gaussian => {
            let (u, v) = ((all[i & !1] + 1.0) / size, all[i | 1] / size);
            let angle = std::f64::consts::TAU * v;
            (-2.0 * u.ln()).sqrt() * if i.is_multiple_of(2) { angle.cos() } else { angle.sin() }
        }
        Noise::Gumbel => -(-((all[i] + 0.5) / size).ln()).ln(),
    };
    (0..n).map(number).collect()
}

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("random::moments", moments), Trial::test("random::each_word_of_the_step_counts", each_word_counts)]
}

fn draw(kind: Noise, key: u32, step: Step) -> Result<Vec<f64>, Failed> {
    let shape: Shape = [1 << 16].into();
    let case = Case::new("draw")
        .step(step)
        .ops(move |g, _| vec![g.push(Draw { kind, key, shape: shape.clone() }, &[g.step()])]);
    Ok(run::run(&case, &Device::Cpu(Cpu::new(Precision::F32)))?.outputs[0].to_f64())
}

/// Mean and variance are those of the distribution, within five standard errors.
fn moments() -> Result<(), Failed> {
    let euler = 0.577_215_664_901_532_9;
    let of = [
        (Noise::Uniform, 0.5, 1.0 / 12.0, 1.0 / 180.0),
        (Noise::Gaussian, 0.0, 1.0, 2.0),
        (Noise::Gumbel, euler, std::f64::consts::PI.powi(2) / 6.0, 11.8),
    ];
    for (kind, mean, variance, variance_of_square) in of {
        let x = draw(kind, KEY, now())?;
        let n = x.len() as f64;
        let got_mean = x.iter().sum::<f64>() / n;
        let got_variance = x.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let far = (got_mean - mean).abs() / (variance / n).sqrt();
        let far_variance = (got_variance - variance).abs() / (variance_of_square / n).sqrt();
        if far > 5.0 || far_variance > 5.0 {
            return Err(format!("{kind:?}: mean {got_mean} for {mean}, variance {got_variance} for {variance}").into());
        }
    }
    Ok(())
}

/// Another seed, step, micro-batch or scope gives other numbers.
fn each_word_counts() -> Result<(), Failed> {
    let first = draw(Noise::Uniform, KEY, now())?;
    let others = [
        ("low seed", KEY, Step { seed: now().seed ^ 1, ..now() }),
        ("high seed", KEY, Step { seed: now().seed ^ 1 << 32, ..now() }),
        ("low step", KEY, Step { step: now().step ^ 1, ..now() }),
        ("high step", KEY, Step { step: now().step ^ 1 << 32, ..now() }),
        ("micro-batch", KEY, Step { micro: 2, ..now() }),
        ("scope", KEY ^ 1, now()),
    ];
    for (what, key, step) in others {
        let other = draw(Noise::Uniform, key, step)?;
        let equal = first.iter().zip(&other).filter(|(a, b)| a == b).count();
        if equal > 5 {
            return Err(format!("{equal} numbers stay as they are under another {what}").into());
        }
    }
    Ok(())
}
