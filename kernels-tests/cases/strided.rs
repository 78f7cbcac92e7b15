use crate::harness::Case;
use crate::harness::recipe::{given, indices, normal};
use wgrec::graph::Var;
use wgrec::kernels::strided::{Concat, Expand, Pack, Pad, Permute};
use wgrec::tensor::{Shape, Tensor};

pub fn cases() -> Vec<Case> {
    [expansions(), permutations(), slices(), joins(), others()].concat()
}

/// Every index of `shape`.
fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let (strides, shape) = (Shape::from(shape).strides(), shape.to_vec());
    (0..shape.iter().product()).map(move |i| strides.iter().zip(&shape).map(|(s, n)| i / s % n).collect())
}

fn at(x: &Tensor, place: &[usize]) -> f64 {
    x.to_f64()[place.iter().zip(x.shape.strides()).map(|(p, s)| p * s).sum::<usize>()]
}

/// `shape` filled by a function of the index.
fn filled(shape: &[usize], f: impl Fn(&[usize]) -> f64) -> Vec<Vec<f64>> {
    vec![places(shape).map(|p| f(&p)).collect()]
}

fn expansions() -> Vec<Case> {
    let shapes: [(&str, &[usize], &[usize]); 6] = [
        ("scalar", &[], &[3, 257]),
        ("new_axis", &[5], &[7, 5]),
        ("column", &[5, 1], &[5, 13]),
        ("middle", &[3, 1, 4], &[3, 6, 4]),
        ("mixed", &[2, 1, 3, 1], &[5, 2, 4, 3, 6]),
        ("same", &[1, 1], &[1, 1]),
    ];
    let one = |(name, from, to): (&str, &'static [usize], &'static [usize])| {
        Case::new(format!("expand_{name}"))
            .input(normal(from))
            .op(move |g, x| g.push(Expand { shape: to.into() }, x))
            .reference(move |x| {
                let new = to.len() - x[0].shape.len();
                let own = |p: &[usize]| -> Vec<usize> {
                    p[new..].iter().zip(x[0].shape.iter()).map(|(p, n)| p % n).collect()
                };
                filled(to, |p| at(&x[0], &own(p)))
            })
            .tolerance(1e-5, 1e-5)
    };
    shapes.into_iter().map(one).collect()
}

fn permutations() -> Vec<Case> {
    let orders: [(&[usize], &[usize]); 8] = [
        (&[7, 257], &[1, 0]),
        (&[3, 5, 7], &[0, 2, 1]),
        (&[3, 5, 7], &[2, 0, 1]),
        (&[4, 1, 6], &[1, 2, 0]),
        (&[2, 3, 4, 5], &[0, 2, 1, 3]),
        // More axes than one launch has.
        (&[2, 3, 2, 3, 4], &[4, 2, 0, 3, 1]),
        (&[2, 3, 2, 2, 2, 3], &[5, 3, 1, 4, 0, 2]),
        (&[1, 1], &[1, 0]),
    ];
    let one = |(shape, order): (&'static [usize], &'static [usize])| {
        Case::new(format!("permute_{shape:?}_{order:?}").replace(", ", "x"))
            .input(normal(shape))
            .op(move |g, x| g.push(Permute { order: order.to_vec() }, x))
            .reference(move |x| {
                let to: Vec<usize> = order.iter().map(|&o| shape[o]).collect();
                filled(&to, |p| {
                    let mut from = vec![0; p.len()];
                    order.iter().zip(p).for_each(|(&o, &i)| from[o] = i);
                    at(&x[0], &from)
                })
            })
    };
    let integers = Case::new("permute_integers")
        .fixed(indices([5, 6, 7], 1 << 30))
        .op(|_, x| x[0].permute(&[2, 1, 0]))
        .reference(|x| filled(&[7, 6, 5], |p| at(&x[0], &[p[2], p[1], p[0]])));
    // A copy of bits: integers that are no number as floats stay as they are.
    let bits = Case::new("copy_of_any_bits")
        .fixed(given([300], (0..300u32).map(|i| i.wrapping_mul(0x9E37_79B9)).collect::<Vec<_>>()))
        .op(|_, x| x[0].slice(0, 1, 298))
        .reference(|x| filled(&[298], |p| at(&x[0], &[p[0] + 1])));
    orders.into_iter().map(one).chain([integers, bits]).collect()
}

fn slices() -> Vec<Case> {
    // (shape, axis, start, len)
    let ranges: [(&[usize], usize, usize, usize); 7] = [
        (&[1], 0, 0, 1),
        (&[257], 0, 100, 156),
        (&[7, 5], 0, 2, 4),
        (&[7, 5], 1, 4, 1),
        (&[3, 6, 4], 1, 1, 3),
        (&[2, 3, 4, 5], 2, 0, 3),
        (&[65, 24, 2], 1, 23, 1),
    ];
    let one = |(shape, axis, start, len): (&'static [usize], usize, usize, usize)| {
        let label = format!("{shape:?}_{axis}_{start}_{len}").replace(", ", "x");
        let slice = Case::new(format!("slice_{label}"))
            .input(normal(shape))
            .op(move |_, x| x[0].slice(axis, start, len))
            .reference(move |x| {
                filled(&Shape::from(shape).with(axis, len), |p| {
                    let mut from = p.to_vec();
                    from[axis] += start;
                    at(&x[0], &from)
                })
            });
        let extent = start + shape[axis] + len;
        let pad = Case::new(format!("pad_{label}"))
            .input(normal(shape))
            .op(move |g, x| g.push(Pad { axis, start, extent }, x))
            .reference(move |x| {
                filled(&Shape::from(shape).with(axis, extent), |p| {
                    let inside = (start..start + shape[axis]).contains(&p[axis]);
                    let mut from = p.to_vec();
                    from[axis] = p[axis].wrapping_sub(start);
                    if inside { at(&x[0], &from) } else { 0.0 }
                })
            });
        [slice, pad]
    };
    ranges.into_iter().flat_map(one).collect()
}

fn joins() -> Vec<Case> {
    // (axis, extents of the parts along it, shape of all else)
    let lists: [(usize, &[usize], &[usize]); 5] = [
        (0, &[1, 1], &[1]),
        (0, &[3, 5, 2], &[1, 7]),
        (1, &[4, 20], &[3, 1, 16]),
        (2, &[1, 3], &[2, 5, 1]),
        // More parts than one launch binds.
        (1, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], &[4, 1, 3]),
    ];
    let one = |(axis, extents, rest): (usize, &'static [usize], &'static [usize])| {
        let part = |&n: &usize| normal(Shape::from(rest).with(axis, n));
        let case = Case::new(format!("concat_of_{}_along_{axis}", extents.len()));
        extents.iter().map(part).fold(case, Case::input).op(move |g, x| g.push(Concat { axis }, x)).reference(
            move |x| {
                let ends: Vec<usize> = extents.iter().scan(0, |end, n| (*end += n, Some(*end)).1).collect();
                filled(&Shape::from(rest).with(axis, ends[ends.len() - 1]), |p| {
                    let part = ends.partition_point(|&end| end <= p[axis]);
                    let mut from = p.to_vec();
                    from[axis] -= ends[part] - extents[part];
                    at(&x[part], &from)
                })
            },
        )
    };
    let integers = Case::new("concat_of_integers")
        .fixed(indices([3, 4], 100))
        .fixed(indices([3, 2], 100))
        .op(|g, x| g.concat(1, x))
        .reference(|x| filled(&[3, 6], |p| if p[1] < 4 { at(&x[0], p) } else { at(&x[1], &[p[0], p[1] - 4]) }));
    lists.into_iter().map(one).chain([integers]).collect()
}

fn others() -> Vec<Case> {
    let views = Case::new("views")
        .input(normal([6, 10]))
        .ops(|_, x| {
            let y = x[0].reshape([3, 20]);
            vec![y.reshape([60]), y.sin(), y.reshape([5, 12]) * x[0].reshape([5, 12])]
        })
        .tolerance(1e-5, 1e-5);
    let pack = Case::new("pack")
        .fixed(normal([3, 5]))
        .fixed(normal([70]))
        .fixed(normal([]))
        .op(|g, x| g.push(Pack { offsets: vec![0, 64, 192], len: 256 }, x))
        .reference(|x| {
            filled(&[256], |p| match p[0] {
                i @ 0..15 => x[0].to_f64()[i],
                i @ 64..134 => x[1].to_f64()[i - 64],
                192 => x[2].to_f64()[0],
                _ => 0.0,
            })
        });
    let assign = Case::grid("assign", [[1, 1], [7, 257]], |c, s| {
        c.state(normal(s))
            .fixed(normal(s))
            .op(|g, x: &[Var]| g.assign(x[0], x[0] * x[1]))
            .reference(|x| vec![x[0].to_f64().iter().zip(x[1].to_f64()).map(|(a, b)| a * b).collect()])
    });
    // More workgroups than one dimension of a grid takes.
    let large =
        Case::new("large_4194497").fixed(normal([1])).op(|_, x| x[0].expand([4_194_500]).slice(0, 1, 4_194_497));
    [vec![views, pack, large], assign].concat()
}
