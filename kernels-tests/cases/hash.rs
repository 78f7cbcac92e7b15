use crate::harness::Case;
use crate::harness::recipe::normal;
use wgrec::kernels::hash::Hash;
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    // Nothing; one element; a row that is no multiple of a workgroup; several workgroups, the last of them short; several tensors.
    [vec![0], vec![1], vec![1023, 3], vec![16_384], vec![40_001], vec![70_000, 5, 16_385]]
        .into_iter()
        .map(case)
        .collect()
}

fn case(lengths: Vec<usize>) -> Case {
    let name = lengths.iter().map(usize::to_string).collect::<Vec<_>>().join("_");
    // Numbers that compare equal and have other bits, and those that have no order.
    let values = |n: usize| match n {
        0 | 1 => normal([n]),
        n => normal([n]).plant(-0.0, [n / 2]).plant(1e-40, [n - 1]).plant(f64::NEG_INFINITY, [n / 3]),
    };
    let case = lengths.iter().fold(Case::new(name), |case, &n| case.fixed(values(n)));
    let case = case.op(|g, x| g.push(Hash, x)).needs_f32().hides_nan();
    case.reference(|x| vec![x.iter().flat_map(hash).collect()])
}

/// By 64-bit arithmetic, element after element.
fn hash(x: &Tensor) -> [f64; 2] {
    let word = |x: u64| x & 0xffff_ffff;
    let shifted = |h: u64, by: u32| h ^ h >> by;
    let (mut a_sum, mut b_sum) = (0, 0);
    for (i, x) in (1..).zip(x.to_f64()) {
        let a = word((x as f32).to_bits() as u64 + i * 0x9e37_79b9);
        let a = word(shifted(a, 16) * 0x85eb_ca6b);
        let a = shifted(word(shifted(a, 13) * 0xc2b2_ae35), 16);
        let b = shifted(word((a ^ word(i * 0x27d4_eb2f)) * 0x9e37_79b1), 15);
        (a_sum, b_sum) = (word(a_sum + a), word(b_sum + b));
    }
    [a_sum as f64, b_sum as f64]
}
