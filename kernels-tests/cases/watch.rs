use crate::harness::Case;
use crate::harness::recipe::fill;
use wgrec::graph::Step;
use wgrec::kernels::watch::Watch;

pub fn cases() -> Vec<Case> {
    let step = |number: u64| Step::at(7, number, 1e-2, [0.9, 0.999]);
    let mut all = vec![];
    let losses = [("finite", 1.5), ("nan", f64::NAN), ("inf", f64::INFINITY), ("minus_inf", f64::NEG_INFINITY)];
    for (what, loss) in losses {
        // [the mark before, the scale, the number of the step, the mark after]
        let fault = |mark: f64| if loss.is_finite() { 0.0 } else { mark };
        for (name, before, scale, number, after) in [
            ("first", 0.0, 1.0, 0, fault(1.0)),
            ("later", 3.0, 1.0, 9, 3.0),
            ("left_out", 10.0, 0.0, 9, 0.0),
            ("left_out_later", 3.0, 0.0, 9, 3.0),
            ("last_mark", 0.0, 0.5, (1 << 24) - 1, fault((1 << 24) as f64)),
            ("long_after", 0.0, 1e-9, (1 << 33) + (3 << 24) + 41, fault(42.0)),
        ] {
            all.push(
                Case::new(format!("{what}_{name}"))
                    .step(step(number))
                    .fixed(fill([], loss))
                    .fixed(fill([], 0.25))
                    .fixed(fill([1], scale))
                    .state(fill([1], before))
                    .ops(|g, x| {
                        let y = g.try_push(Watch, &[x[0], x[1], x[2], g.step(), x[3]]).expect("the shapes fit");
                        // A loss that is not finite is not compared, only where it is seen.
                        vec![y[0], y[1].slice(0, 1, 2), y[1].slice(0, 0, 1).finite_or_zero()]
                    })
                    .reference(move |_| {
                        vec![vec![after], vec![0.25, after], vec![if loss.is_finite() { loss } else { 0.0 }]]
                    }),
            );
        }
    }
    all
}
