// A sum of many terms in one invocation, whose rounding error grows with the logarithm of their number: terms are added by
// 16, and so are the sums of 16, of 256 and of 4,096 of them.
struct Sum { terms: u32, of_1: f32, of_16: f32, of_256: f32, of_4096: f32 }

fn add(sum: ptr<function, Sum>, term: f32) {
    (*sum).of_1 += term;
    (*sum).terms += 1u;
    if ((*sum).terms & 15u) == 0u {
        (*sum).of_16 += (*sum).of_1;
        (*sum).of_1 = 0.0;
        if ((*sum).terms & 255u) == 0u {
            (*sum).of_256 += (*sum).of_16;
            (*sum).of_16 = 0.0;
            if ((*sum).terms & 4095u) == 0u {
                (*sum).of_4096 += (*sum).of_256;
                (*sum).of_256 = 0.0;
            }
        }
    }
}

fn total(sum: Sum) -> f32 {
    return ((sum.of_1 + sum.of_16) + sum.of_256) + sum.of_4096;
}
