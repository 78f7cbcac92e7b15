//! The table of cases: each kernel at the shapes that the models run it at, or, where memory is what it waits for, at sizes
//! that no cache holds. Forward and backward each.

use super::Scale;
use super::case::{Case, Fill};
use crate::error::{Error, Result, nearest};
use crate::graph::{Graph, Var};
use crate::kernels::adam::{self, AdamRows, Settings};
use crate::kernels::fourier::frequencies;
use crate::kernels::matmul::Activation;
use crate::kernels::moments::Moments;
use crate::kernels::rank::{Pick, Rank};

type Make = fn(Scale) -> Vec<Case>;

const KERNELS: [(&str, Make); 14] = [
    ("gather", gather),
    ("scatter", scatter),
    ("matmul", matmul),
    ("softmax", softmax),
    ("attention", attention),
    ("layer_norm", layer_norm),
    ("gru", gru),
    ("conv", conv),
    ("filter", filter),
    ("moments", moments),
    ("elementwise", elementwise),
    ("softmax_loss", softmax_loss),
    ("adam", adam),
    ("rank", rank),
];

/// The kernels that have cases.
pub fn names() -> impl Iterator<Item = &'static str> {
    KERNELS.iter().map(|(name, _)| *name)
}

/// The cases of kernel `name`, or of all.
///
/// # Errors
/// If there is no such kernel; the error names the nearest one and all others.
pub fn cases(name: Option<&str>, scale: Scale) -> Result<Vec<Case>> {
    let chosen = |known: &str| name.is_none_or(|name| name == known);
    let all: Vec<Case> = KERNELS.iter().filter(|(name, _)| chosen(name)).flat_map(|(_, make)| make(scale)).collect();
    if all.is_empty() {
        let wanted = name.unwrap_or_default();
        let near = nearest(wanted, names()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        let known = names().collect::<Vec<_>>().join(", ");
        return Err(Error::Usage(format!("no kernel is called {wanted:?}{near} (known: {known})")));
    }
    Ok(all)
}

/// Width of the models' rows.
const D: usize = 64;

const UNIT: Fill = Fill::Float(1.0);

/// 1,048,576 rows of 64: 256 MiB.
fn rows(scale: Scale) -> usize {
    scale.pick(1 << 20, 1 << 13)
}

fn gather(scale: Scale) -> Vec<Case> {
    let n = rows(scale);
    let of = |name: &str, indices| {
        Case::new("gather", format!("{n}x{D}"), |_, x| Ok(vec![x[0].gather(x[1])]))
            .named(name)
            .f32([n + 1, D], UNIT)
            .u32([n], indices)
    };
    vec![of("gather contiguous", Fill::Ascending), of("gather random", Fill::Below(n as u32 + 1))]
}

fn scatter(scale: Scale) -> Vec<Case> {
    let (n, table) = (rows(scale), scale.pick(100_000, 1000));
    // One row after the other, each a few times; and at random, where rows of the batch lie far apart.
    let in_order = (0..n).map(|i| 1 + (i * (table - 1) / n) as u32).collect();
    let of = |name: &str, indices| {
        Case::new("scatter", format!("{n}x{D} to {table}"), |_, x| Ok(vec![x[0].gather(x[1])]))
            .f32([table, D], UNIT)
            .u32([n], indices)
            .segments(0, 1)
            .backward(&[0], &["gather backward"])
            .named(name)
    };
    vec![of("scatter contiguous", Fill::Given(in_order)), of("scatter random", Fill::Below(table as u32))]
}

/// Extents are rows x width x columns.
fn matmul(scale: Scale) -> Vec<Case> {
    let square = if scale == Scale::Large { 4096 } else { scale.pick(1024, 128) };
    let shapes = [
        [scale.pick(12_800, 1280), D, D],
        [scale.pick(25_600, 512), D, scale.pick(3416, 300)],
        [256, D, scale.pick(3416, 500)],
        [square, square, square],
    ];
    shapes.into_iter().flat_map(products).collect()
}

fn products([m, k, n]: [usize; 3]) -> Vec<Case> {
    let sizes = format!("{m}x{k}x{n}");
    let scaled = Fill::Float(1.0 / (k as f32).sqrt());
    let layer = |name: &str, bias: bool, activation: Activation| {
        Case::new("matmul", &sizes, move |_, x| Ok(vec![x[0].linear(x[1], bias.then_some(x[2]), activation)]))
            .named(name)
            .f32([m, k], UNIT)
            .f32([n, k], scaled.clone())
            .f32([n], UNIT)
            .product([m, n, k], [false, true])
    };
    let dx = Case::new("matmul", &sizes, |_, x| Ok(vec![x[0].matmul(x[1])]))
        .named("matmul backward x")
        .f32([m, n], UNIT)
        .f32([n, k], Fill::Float(1.0 / (n as f32).sqrt()))
        .product([m, k, n], [false, false]);
    let dw = Case::new("matmul", &sizes, |_, x| Ok(vec![x[0].t_matmul(x[1])]))
        .named("matmul backward w")
        .f32([m, n], UNIT)
        .f32([m, k], Fill::Float(1.0 / (m as f32).sqrt()))
        .product([n, k, m], [true, false]);
    // Factors that f16 holds exactly, sums that f32 does. Beside the f32 product as a ceiling, tensor cores go beyond 100%.
    let halves = Case::new("matmul", &sizes, |_, x| Ok(vec![x[0].matmul(x[1])]))
        .named("matmul f16")
        .f32([m, k], Fill::Eighths)
        .f32([k, n], Fill::Eighths)
        .product([m, n, k], [false, false])
        .halves(&["matmul"]);
    vec![
        halves,
        layer("matmul", false, Activation::None),
        layer("matmul bias", true, Activation::None),
        layer("matmul bias relu", true, Activation::Relu),
        dx,
        dw,
    ]
}

fn softmax(scale: Scale) -> Vec<Case> {
    let wide = [scale.pick(1 << 14, 1 << 7), 4096];
    let of = |shape: [usize; 2]| {
        Case::new("softmax", format!("{}x{}", shape[0], shape[1]), |_, x| Ok(vec![x[0].softmax(1, None)]))
            .f32(shape, Fill::Float(4.0))
            .both(&[0], &["softmax backward"])
    };
    [of([rows(scale), D]), of(wide)].concat()
}

fn attention(scale: Scale) -> Vec<Case> {
    let [b, l, heads] = scale.pick([128, 200, 2], [4, 40, 2]);
    Case::new("attention", format!("{b}x{l}x{D}, {heads} heads, causal"), move |_, x| {
        Ok(vec![x[0].attention(x[1], x[2], x[3], heads, true, 0.0)])
    })
    .f32([b, l, D], UNIT)
    .f32([b, l, D], UNIT)
    .f32([b, l, D], UNIT)
    .u32([b, l], Fill::Ones)
    .both(&[0, 1, 2], &["attention backward"])
}

fn layer_norm(scale: Scale) -> Vec<Case> {
    let n = rows(scale);
    Case::new("layer_norm", format!("{n}x{D}"), |_, x| Ok(vec![x[0].layer_norm(x[1], x[2], 1e-5)]))
        .named("layer norm")
        .f32([n, D], UNIT)
        .f32([D], UNIT)
        .f32([D], UNIT)
        .both(&[0, 1, 2], &["layer norm backward", "layer norm parameters"])
}

fn gru(scale: Scale) -> Vec<Case> {
    let [b, t, h] = scale.pick([256, 50, 128], [8, 20, 32]);
    Case::new("gru", format!("{b}x{t}x{h}"), |_, x| Ok(vec![x[0].gru(x[1], x[2], x[3])]))
        .f32([b, t, 3 * h], UNIT)
        .f32([3 * h, h], Fill::Float(1.0 / (h as f32).sqrt()))
        .f32([3 * h], UNIT)
        .u32([b, t], Fill::Ones)
        .both(&[0, 1, 2], &["gru backward", "matmul", "sum"])
}

fn conv(scale: Scale) -> Vec<Case> {
    let [b, t, height, n] = scale.pick([256, 50, 4, 64], [8, 20, 4, 16]);
    Case::new("conv", format!("{b}x{t}x{D}, {n} of {height}"), |_, x| Ok(vec![x[0].conv(x[1], x[2])]))
        .f32([b, t, D], UNIT)
        .f32([n, height, D], Fill::Float(0.1))
        .f32([n], UNIT)
        .both(&[0, 1, 2], &["conv backward", "slice", "concat", "matmul", "sum"])
}

/// That of FMLP-Rec, both transforms in it.
fn filter(scale: Scale) -> Vec<Case> {
    let [b, t] = scale.pick([256, 50], [8, 20]);
    let case = Case::new("filter", format!("{b}x{t}x{D}"), |_, x| Ok(vec![x[0].filter(x[1])]))
        .f32([b, t, D], UNIT)
        .f32([frequencies(t), 2, D], UNIT);
    // By x it is a filter again.
    let weight = case.backward(&[1], &["filter weight"]);
    vec![case, weight]
}

/// Those of PoMRec's interests.
fn moments(scale: Scale) -> Vec<Case> {
    let [b, t, interests] = scale.pick([8192, 24, 2], [64, 24, 2]);
    Case::new("moments", format!("{b}x{t}x{D}, {interests} interests"), |g: &Graph, x| g.try_push(Moments, x))
        .f32([b, t, interests], Fill::Float(1.0 / t as f32))
        .f32([b, t, D], UNIT)
        .both(&[0, 1], &["moments backward"])
}

fn elementwise(scale: Scale) -> Vec<Case> {
    let n = rows(scale) * D;
    fn chain<'g>(x: &[Var<'g>]) -> Var<'g> {
        (x[0] * x[1] + x[0]).tanh() * x[1].sigmoid()
    }
    Case::new("elementwise", n.to_string(), |_, x| Ok(vec![chain(x)]))
        .f32([n], UNIT)
        .f32([n], UNIT)
        .both(&[0, 1], &["elementwise"])
}

/// The loss with the gradients of rows and table, which one kernel makes.
fn softmax_loss(scale: Scale) -> Vec<Case> {
    let [n, items] = if scale == Scale::Large { [4096, 1_000_000] } else { scale.pick([25_600, 3416], [128, 500]) };
    let case = Case::new("softmax_loss", format!("{n}x{D}x{items}"), move |g: &Graph, x| {
        let op = crate::kernels::softmax_loss::SoftmaxLoss { first: 1, classes: items, bias: false };
        g.try_push(op, x)
    });
    vec![
        case.named("softmax loss")
            .f32([n, D], UNIT)
            .f32([items + 1, D], UNIT)
            .u32([n], Fill::Below(items as u32 + 1))
            .f32([n], Fill::Ones),
    ]
}

fn adam(scale: Scale) -> Vec<Case> {
    let table = rows(scale);
    let used = scale.pick(25_600, 256);
    let settings = Settings::default();
    let moments =
        |case: Case, shape: [usize; 2]| case.f32(shape, UNIT).f32(shape, Fill::Float(0.01)).f32(shape, Fill::Positive);
    let n = table * D;
    let flat = Case::new("adam", n.to_string(), move |g: &Graph, x| {
        g.try_push(adam::Adam { settings }, &[x[0], x[1], x[2], x[3], x[4], g.step(), x[5]])
    });
    let flat = flat
        .f32([n], UNIT)
        .f32([n], Fill::Float(0.01))
        .f32([n], Fill::Positive)
        .f32([n], UNIT)
        .f32([n.div_ceil(adam::Adam::BLOCK), 2], Fill::Positive)
        .f32([], Fill::Ones);
    let over = |name: &str, lazy: bool| {
        let case = Case::new("adam", format!("{used} rows of {table}x{D}"), move |g: &Graph, x| {
            let op = AdamRows { settings, lazy, decay: 0.0 };
            g.try_push(op, &[x[0], x[1], x[2], x[3], x[4], x[5], g.step(), x[6]])
        });
        let list: Vec<u32> = (0..used).map(|i| 1 + (i * (table - 1) / used) as u32).collect();
        moments(case.named(name), [table, D])
            .f32([used, D], UNIT)
            .u32([used], Fill::Given(list))
            .u32([4], Fill::Given(vec![used as u32, used as u32, used as u32, 0]))
            .f32([], Fill::Ones)
    };
    vec![flat, over("adam over rows", false), over("lazy adam", true)]
}

/// Scores of a catalogue for a batch of users, and the rank of one item each.
fn rank(scale: Scale) -> Vec<Case> {
    let [users, items] = scale.pick([256, 8192], [32, 500]);
    let excluded = 20;
    let offsets = (0..=users as u32).map(|user| user * excluded).collect();
    let lists = (0..users as u32).flat_map(|user| (0..excluded).map(move |i| 1 + user % 7 + 11 * i)).collect();
    let case = Case::new("rank", format!("{users}x{D}x{items}"), |g: &Graph, x| {
        let scores = x[0].matmul_t(x[1]);
        let target = g.push(Pick, &[scores, x[2], x[3]]);
        g.try_push(Rank, &[scores, x[2], target, x[4], x[5]])
    });
    vec![
        case.named("full ranking")
            .f32([users, D], Fill::Eighths)
            .f32([items, D], Fill::Eighths)
            .u32([items], Fill::Ascending)
            .u32([users], Fill::Below(items as u32 + 1))
            .u32([users + 1], Fill::Given(offsets))
            .u32([users * excluded as usize], Fill::Given(lists)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_kernel_is_told_the_nearest() {
        let Err(e) = cases(Some("sofmax"), Scale::Quick) else { panic!("there is none") };
        assert!(e.to_string().contains("did you mean softmax?"), "{e}");
        assert_eq!(e.exit_code(), 2);
    }

    #[test]
    fn full_and_quick_have_the_same_cases_and_no_two_alike() {
        let all = |scale| cases(None, scale).unwrap().into_iter().map(|c| (c.kernel, c.name, c.sizes));
        let named = |scale| all(scale).map(|(kernel, name, _)| (kernel, name)).collect::<Vec<_>>();
        assert_eq!(named(Scale::Full), named(Scale::Quick));
        for scale in [Scale::Large, Scale::Full, Scale::Quick] {
            let distinct: std::collections::HashSet<_> = all(scale).collect();
            assert_eq!(distinct.len(), all(scale).count());
        }
    }

    /// Unique bytes by hand.
    #[test]
    fn bytes_are_counted_once() {
        let cost = |name: &str, case: &str| {
            let all = cases(Some(name), Scale::Quick).unwrap();
            all.iter().find(|c| c.name == case).unwrap().cost().unwrap()
        };
        let n = (1u64 << 13) * 64;
        for (name, case, bytes) in [
            ("gather", "gather contiguous", 8 * n + 4 * (n / 64)),
            ("softmax", "softmax", 8 * n),
            ("softmax", "softmax backward", 12 * n),
            ("elementwise", "elementwise", 12 * n),
            ("adam", "lazy adam", 28 * 256 * 64),
        ] {
            assert_eq!(cost(name, case).bytes, bytes, "{case}");
        }
        assert_eq!(cost("matmul", "matmul").flops, 2 * 1280 * 64 * 64);
        // The product, and a look at each score: what is read of the scores to find the targets' is next to nothing.
        let (users, items) = (32, 500);
        let scores = 4 * users * items;
        let rank = cost("rank", "full ranking").bytes;
        assert!(rank < 2 * scores + 4 * 64 * (users + items) + 4 * (2 * items + 8 * users), "{rank}");
    }
}
