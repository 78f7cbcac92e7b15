//! The allocator: a policy gives each event of a history to one of the user's interests (equations 9 to 12 and 18).

use super::settings::Settings;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::kernels::policy_scores::{PolicyChoice, PolicyScores};
use crate::kernels::random::Noise;
use crate::kernels::rollout::{Rollout, RolloutContext};
use crate::models::interests::masked;
use crate::models::loss::log_softmax;
use crate::nn::{Init, Params};
use crate::tensor::Tensor;

/// The policy of a model, and what it is asked with.
#[derive(Clone, Copy)]
pub struct Allocator<'a> {
    pub settings: &'a Settings,
    pub params: &'a Params,
}

/// What is known of a user before the roll-out.
#[derive(Clone, Copy)]
pub struct Start<'g> {
    /// \[B, d\].
    pub user: Var<'g>,
    /// \[B, M, d\].
    pub events: Var<'g>,
    /// \[B, M\], 0 where padded.
    pub items: Var<'g>,
    /// \[B, k\], 1 for each interest that the user has, else 0.
    pub used: Var<'g>,
    /// What the policy's state holds of the number of interests, \[B, k\].
    pub number: Var<'g>,
}

/// A roll-out over T steps, each an event that an interest takes.
pub struct Episode<'g> {
    /// \[B, k, d\], 0 where the user has fewer.
    pub interests: Var<'g>,
    /// \[B, k, d_i\]: what each interest gives to the policy, with what the user gives to it.
    pub values: Var<'g>,
    /// \[B, T, k\], 1 at the interest of each step; 0 where padded.
    pub actions: Var<'g>,
    /// \[B\]: the logarithm of the probability of all actions.
    pub log_probability: Var<'g>,
    /// \[B\]: the mean over a user's steps of the policy's entropy, in nats.
    pub entropy: Var<'g>,
}

/// How the actions of an episode are taken.
#[derive(Clone, Copy)]
pub enum Actions<'g> {
    /// The most probable.
    Greedy,
    /// Drawn by the policy.
    Drawn,
    /// The most probable after this is added to the logits, \[B, T, k\].
    By(Var<'g>),
}

/// Declares the parameters, `policy.*`.
pub fn declare(settings: &Settings, params: &mut Params, glorot: impl Fn(usize, usize) -> Init) {
    let Settings { dim: d, interests: k, policy_dim: w, .. } = *settings;
    let mut matrix = |name: &str, out: usize, width: usize| params.add(name, [out, width], glorot(out, width));
    matrix("policy.state.weight", d, 2 * d + k);
    matrix("policy.0.weight", w, d);
    matrix("policy.1.weight", k, w);
    params.add("policy.0.bias", [w], Init::Constant(0.0));
    params.add("policy.1.bias", [k], Init::Constant(0.0));
}

impl Allocator<'_> {
    fn var<'g>(&self, g: &'g Graph, name: &str) -> Var<'g> {
        self.params.var(g, &format!("policy.{name}"))
    }

    /// The map of the state times the policy's first: nothing stands between them. Its parts for the sum of interests \[d_i, d\], the
    /// event \[d_i, d\] and the number of interests \[d_i, k\].
    fn fold<'g>(&self, g: &'g Graph) -> [Var<'g>; 3] {
        let Settings { dim: d, interests: k, .. } = *self.settings;
        let fold = self.var(g, "0.weight").matmul(self.var(g, "state.weight"));
        [(0, d), (d, d), (2 * d, k)].map(|(start, len)| fold.slice(1, start, len))
    }

    /// What events \[.., d\] give to the policy themselves, \[.., d_i\].
    pub fn of_events<'g>(&self, events: Var<'g>) -> Var<'g> {
        events.linear(self.fold(events.graph())[1], None, Activation::None)
    }

    /// The episode of each history of `start` and, as its last step, of its `target` \[B, d\], which no interest takes in.
    pub fn episode<'g>(&self, start: &Start<'g>, target: Option<Var<'g>>, actions: Actions<'g>) -> Episode<'g> {
        let Start { user, events, items, used, number } = *start;
        let g = user.graph();
        let Settings { interests: k, policy_dim: w, pooling, .. } = *self.settings;
        let [b, d] = [0, 2].map(|axis| events.shape()[axis]);
        let real = items.nonzero();
        let (steps, real) = match target {
            None => (events, real),
            Some(target) => {
                let one = g.constant(Tensor::f32([b, 1], vec![1.0; b]));
                (g.concat(1, &[events, target.reshape([b, 1, d])]), g.concat(1, &[real, one]))
            }
        };
        let t = real.shape()[1];
        let sources = g.concat(1, &[user.reshape([b, 1, d]), events]);
        let [by_sum, by_event, by_number] = self.fold(g);
        let (bias, last_bias) = (self.var(g, "0.bias"), self.var(g, "1.bias"));
        let of_number = number.linear(by_number, Some(bias), Activation::None).reshape([b, 1, w]);
        let own = steps.linear(by_event, None, Activation::None) + of_number;
        let values = sources.linear(by_sum, None, Activation::None);
        let products = steps.matmul_t(sources);
        let allowed = real.reshape([b, t, 1]) * used.reshape([b, 1, k]);
        let last = self.var(g, "1.weight");
        let noise = match actions {
            Actions::Greedy => last_bias.expand([b, t, k]),
            Actions::Drawn => g.scope("actions", || g.noise(Noise::Gumbel, [b, t, k])) + last_bias,
            Actions::By(noise) => noise + last_bias,
        };
        let taken = g.push(Rollout { pooling }, &[products, values, own, last, noise, allowed]);
        let seen = g.try_push(RolloutContext { pooling }, &[products, values, allowed, taken]);
        let seen = seen.unwrap_or_else(|e| panic!("{e}"));
        let hidden = (seen[0] + own).relu();
        let logits = masked(hidden.linear(last, Some(last_bias), Activation::None), allowed);
        let logs = log_softmax(logits.reshape([b * t, k])).reshape([b, t, k]);
        let ids = g.constant(Tensor::u32([1, 1, k], (0..k as u32).collect()));
        let actions = taken.reshape([b, t, 1]).equal(ids);
        let mix = seen[2].stop_gradient();
        let count = real.sum(1).max(g.scalar(1.0));
        Episode {
            interests: mix.matmul(sources) * used.reshape([b, k, 1]),
            values: mix.matmul(values) + of_number,
            actions,
            log_probability: (logs * actions).sum(2).sum(1),
            entropy: -(logs * logs.exp() * allowed).sum(2).sum(1) / count,
        }
    }

    /// Scores of items by the interest that the policy chooses for each: its product with the item, plus its `offset` \[B, k\]. Items
    /// \[W, d\] are those of all users, \[B, W, d\] each user's own; `own` is [`Allocator::of_events`] of them.
    pub fn scores<'g>(&self, users: &Ranked<'g>, items: Var<'g>, own: Var<'g>) -> Var<'g> {
        let inputs = self.asked(users, items, own);
        items.graph().push(PolicyScores, &inputs)
    }

    /// 1 at the interest that the policy chooses for each item, else 0: \[B, W, k\].
    pub fn choices<'g>(&self, users: &Ranked<'g>, items: Var<'g>, own: Var<'g>) -> Var<'g> {
        let g = items.graph();
        let choice = g.push(PolicyChoice, &self.asked(users, items, own));
        let ([b, w], k) = ([choice.shape()[0], choice.shape()[1]], self.settings.interests);
        choice.reshape([b, w, 1]).equal(g.constant(Tensor::u32([1, 1, k], (0..k as u32).collect())))
    }

    fn asked<'g>(&self, users: &Ranked<'g>, items: Var<'g>, own: Var<'g>) -> [Var<'g>; 7] {
        let g = items.graph();
        let products = products(users.interests, items);
        [
            products,
            users.values,
            own,
            self.var(g, "1.weight").transpose(),
            self.var(g, "1.bias"),
            users.offset,
            users.used,
        ]
    }
}

/// Products of interests \[B, k, d\] with items, \[W, d\] or \[B, W, d\]: \[B, k, W\].
pub fn products<'g>(interests: Var<'g>, items: Var<'g>) -> Var<'g> {
    let [b, k, d] = [0, 1, 2].map(|axis| interests.shape()[axis]);
    match items.shape().len() {
        2 => interests.reshape([b * k, d]).matmul_t(items).reshape([b, k, items.shape()[0]]),
        _ => interests.matmul_t(items),
    }
}

/// Users after their episodes, as items are ranked for them.
#[derive(Clone, Copy)]
pub struct Ranked<'g> {
    /// \[B, k, d\].
    pub interests: Var<'g>,
    /// \[B, k, d_i\].
    pub values: Var<'g>,
    /// \[B, k\]: what is added to the scores of an interest.
    pub offset: Var<'g>,
    /// \[B, k\]: 1 for each interest that the user has, else 0.
    pub used: Var<'g>,
}

impl<'g> Ranked<'g> {
    /// All of it side by side, \[B, k, d + d_i + 2\].
    pub fn pack(&self) -> Var<'g> {
        let column = |v: Var<'g>| v.reshape([v.shape()[0], v.shape()[1], 1]);
        let parts = [self.interests, self.values, column(self.offset), column(self.used)];
        self.interests.graph().concat(2, &parts)
    }

    /// Takes apart what [`Ranked::pack`] has made, for interests of width `d`.
    pub fn unpack(packed: Var<'g>, d: usize) -> Ranked<'g> {
        let [b, k, all] = [0, 1, 2].map(|axis| packed.shape()[axis]);
        let column = |at: usize| packed.slice(2, at, 1).reshape([b, k]);
        Ranked {
            interests: packed.slice(2, 0, d),
            values: packed.slice(2, d, all - d - 2),
            offset: column(all - 2),
            used: column(all - 1),
        }
    }
}
