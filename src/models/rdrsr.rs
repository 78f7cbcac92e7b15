//! RDRSR, learning reinforced dynamic representations for sequential recommendation: Shao, Chen, Zhao, Xia, Yin, "Gumble softmax for
//! user behavior modeling" (2021). A user has as many interests as a discriminator draws; a policy gives each event to one of them,
//! and learns by how well the interest that it chooses for the target scores it.
//!
//! | of the paper | function |
//! |---|---|
//! | equations 1 to 3, bidirectional attention and feed-forward | `events` |
//! | equations 4 to 8, the number of interests | `discriminate` |
//! | equations 9 to 12, roll-out; 18 and 19, its probability | [`allocator`], [`crate::kernels::rollout`] |
//! | equations 13 to 17, reward | `rewards` |
//! | equations 22 to 24, policy gradient and sampled softmax | `trained`; [`super::loss`], kind `sampled-softmax` |
//! | equations 13 and 25, prediction | `scores`, [`crate::kernels::policy_scores`] |
//!
//! Nothing is released. Left open by the paper, or unclear there:
//! - f is a softmax: equation 6 takes the logarithm of probabilities. An event has one weight a_i; the bias of equation 4, the same
//!   for all events, cancels in the softmax and is left out. The user's part cancels too where `model.pool` is linear, as printed.
//! - W^0 has 2 d + k rows, since z is concatenated. Nothing stands between it and W_p1: their product is taken once.
//! - Equation 9 is one softmax over the whole expression, of the first h of k logits.
//! - The average pooling of equation 10 is (p + F) / 2; `model.pooling=running` is the mean of all that the interest has taken.
//! - Equation 14 has the target in the numerator; o counts the negatives alone. With one interest advantage and
//!   orthogonality are 0.
//! - Padding is masked in attention, pooling and roll-out. The policy sees the raw embeddings of target and candidates.
//! - Ranking draws nothing: the number is the most probable one, and so is every action.
//! - Batches of one user's samples: `train.order=users`.
//!
//! Start values: N(0, 2 / (rows + columns)) (Glorot), biases 0.

pub mod allocator;
mod settings;

pub use settings::{Number, Pool, Ranking, Settings};

use super::interests::{nearest, repeated, used_by_length, weighted_sum};
use super::loss::{log_softmax, surprise, weighted_mean};
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{Batch, Candidates, History, Interests, LossKind, Model, Output, Phase, Reads, Trained, Weights};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::kernels::random::Noise;
use crate::nn::encoder::{Encoder, Norm};
use crate::nn::{Init, Params};
use crate::tensor::Tensor;
use allocator::{Actions, Allocator, Episode, Ranked, Start, products};

/// The parameter that holds the running mean of the rewards.
const BASELINE: &str = "reward.mean";

/// How much of the running mean of the rewards a batch leaves.
const DECAY: f64 = 0.99;

impl spec::Settings for Settings {
    fn check(&self) -> Result<()> {
        Settings::check(self)
    }

    /// What no gradient reaches is not trained.
    fn phases(&self, _behaviours: bool) -> Result<Vec<Phase>> {
        let all = ["*_embedding", "events.*", "encoder.*", "policy.*", "discriminator.*"];
        let trained = if self.learns_policy() { &all[..] } else { &all[..3] };
        let phase = trained.iter().copied().fold(Phase::default(), Phase::trains);
        let whole = self.learns_policy() && !self.baseline;
        Ok(vec![if whole { Phase::default() } else { phase }])
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Rdrsr::new(self.clone(), task)?))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "rdrsr",
    title: "a number of interests that differs from user to user, by Gumbel softmax and policy gradient",
    paper: "Shao, Chen, Zhao, Xia, Yin, \"Gumble softmax for user behavior modeling\" (arXiv 2021)",
    loss: Some(LossKind::InBatch),
    presets: &[Preset {
        name: "paper",
        settings: &["loss.kind=sampled-softmax", "train.negatives=99", "train.order=users"],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Rdrsr {
    settings: Settings,
    /// In place of equations 1 to 3, with residual connections.
    encoder: Option<Encoder>,
    users: usize,
    params: Params,
}

/// How many interests each user has.
pub struct Discriminated<'g> {
    /// \[B, k\], 1 at the number of interests, counted from 1, else 0.
    pub number: Var<'g>,
    /// \[B, k\], 1 for each interest that the user has, else 0.
    pub used: Var<'g>,
    /// What the policy's state holds of it, \[B, k\].
    pub state: Var<'g>,
    /// Where it is drawn: the logarithms of the probabilities of each number, \[B, k\], equation 5.
    pub logs: Option<Var<'g>>,
}

/// The parts of a reward (equations 13 to 17), each \[B\]. No gradient passes through them.
pub struct Rewards<'g> {
    /// The target's share by the interest that the policy chooses for it.
    pub chosen: Var<'g>,
    /// The mean over all interests.
    pub mean: Var<'g>,
    pub orthogonal: Var<'g>,
    pub total: Var<'g>,
}

/// A training batch, played through.
pub struct Played<'g> {
    /// \[B, M, d\], 0 where padded.
    pub events: Var<'g>,
    pub discriminated: Discriminated<'g>,
    pub episode: Episode<'g>,
    /// The interest that the policy chooses for the target, \[B, d\].
    pub row: Var<'g>,
    pub rewards: Rewards<'g>,
}

impl Rdrsr {
    /// # Errors
    /// A width that attention does not take.
    pub fn new(settings: Settings, task: &Task) -> Result<Rdrsr> {
        let Settings { dim: d, interests: k, dropout, .. } = settings;
        let glorot = |out: usize, width: usize| Init::Normal((2.0 / (out + width) as f64).sqrt());
        let mut params = task.params();
        for (name, rows) in [("item", task.items + 1), ("user", task.users + 1), ("position", task.max_len)] {
            params.add(&format!("{name}_embedding"), [rows, d], glorot(rows, d));
        }
        let encoder = Encoder::new(Norm::Pre, false, (d, 1, 1), None, dropout)?;
        match settings.residual {
            true => encoder.declare(&mut params, glorot(d, d)),
            false => {
                for part in ["query", "key", "value", "0", "1"] {
                    params.add(&format!("events.{part}.weight"), [d, d], glorot(d, d));
                }
                for part in ["0", "1"] {
                    params.add(&format!("events.{part}.bias"), [d], Init::Constant(0.0));
                }
            }
        }
        if settings.discriminates() {
            params.add("discriminator.event.weight", [d, d], glorot(d, d));
            params.add("discriminator.user.weight", [d, d], glorot(d, d));
            params.add("discriminator.share.weight", [1, d], glorot(1, d));
            params.add("discriminator.number.weight", [k, d], glorot(k, d));
        }
        allocator::declare(&settings, &mut params, glorot);
        if settings.baseline {
            params.add_apart(BASELINE, [1], Init::Constant(0.0));
        }
        let encoder = settings.residual.then_some(encoder);
        Ok(Rdrsr { settings, encoder, users: task.users, params })
    }

    pub fn allocator(&self) -> Allocator<'_> {
        Allocator { settings: &self.settings, params: &self.params }
    }

    fn linear<'g>(&self, x: Var<'g>, name: &str, bias: bool, activation: Activation) -> Var<'g> {
        let var = |what: &str| self.params.var(x.graph(), &format!("{name}.{what}"));
        x.linear(var("weight"), bias.then(|| var("bias")), activation)
    }

    /// The events of histories, each with what the others tell of it, F: \[B, M, d\], 0 where padded.
    fn events<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let x = g.scope("embed", || history.embed_with(self.item_table(g), self.params.var(g, "position_embedding")));
        let [b, m] = [x.shape()[0], x.shape()[1]];
        let y = match &self.encoder {
            Some(encoder) => encoder.encode(&self.params, x, history.items, history.training),
            None => g.scope("events", || {
                let [q, k, v] = ["query", "key", "value"]
                    .map(|part| self.linear(x, &format!("events.{part}"), false, Activation::None));
                let s = q.attention(k, v, history.items, 1, false, 0.0);
                let inner = self.linear(s, "events.0", true, Activation::Relu);
                self.linear(inner, "events.1", true, Activation::None)
            }),
        };
        y * history.items.nonzero().reshape([b, m, 1])
    }

    /// The logarithms of the probabilities of each number of interests, \[B, k\]: equations 4 and 5.
    fn number_logs<'g>(&self, user: Var<'g>, events: Var<'g>, items: Var<'g>) -> Var<'g> {
        let [b, m, d] = [0, 1, 2].map(|axis| events.shape()[axis]);
        let of = |x, part: &str| self.linear(x, &format!("discriminator.{part}"), false, Activation::None);
        let shares = match self.settings.pool {
            Pool::Tanh => of((of(events, "event") + of(user, "user").reshape([b, 1, d])).tanh(), "share"),
            // Nothing stands between the maps: they are multiplied first.
            Pool::Linear => {
                let var = |part: &str| self.params.var(user.graph(), &format!("discriminator.{part}.weight"));
                let fold = |x: Var<'g>, part: &str| x.linear(var("share").matmul(var(part)), None, Activation::None);
                fold(events, "event") + fold(user, "user").reshape([b, 1, 1])
            }
        };
        let shares = shares.reshape([b, m]);
        log_softmax(of(weighted_sum(events, shares.softmax(1, Some(items))), "number"))
    }

    /// The number of interests of each user; `noise` \[B, k\] is added to the logarithms of its probabilities.
    fn discriminate<'g>(
        &self,
        user: Var<'g>,
        events: Var<'g>,
        history: &History<'g>,
        noise: Option<Var<'g>>,
    ) -> Discriminated<'g> {
        let (g, b, k) = (user.graph(), user.shape()[0], self.settings.interests);
        let matrix = |f: &dyn Fn(usize, usize) -> f32| {
            g.constant(Tensor::f32([k, k], (0..k * k).map(|i| f(i / k, i % k)).collect()))
        };
        let one_if = |is: bool| is as u32 as f32;
        // Both count from 0: a user of number i has the interests 0 to i, and the last interest that a user has is the number.
        let with_those_before = |number: Var<'g>| number.matmul(matrix(&|number, interest| one_if(interest <= number)));
        let last_of = |used: Var<'g>| {
            used.matmul(matrix(&|interest, number| one_if(interest == number) - one_if(interest == number + 1)))
        };
        let (number, used) = match self.settings.number {
            Number::Log2 => {
                let used = used_by_length(history, k);
                (last_of(used), used)
            }
            Number::Fixed(h) => {
                let one = (0..k).map(|number| (number + 1 == h) as u32 as f32).collect();
                let number = g.constant(Tensor::f32([1, k], one)).expand([b, k]);
                (number, with_those_before(number))
            }
            Number::Printed | Number::Reinforced | Number::StraightThrough => {
                let logs = self.number_logs(user, events, history.items);
                let drawn = noise.map_or(logs, |noise| logs + noise);
                let number = nearest(drawn.stop_gradient());
                let soft = drawn.scale(1.0 / self.settings.temperature).softmax(1, None);
                let state = match self.settings.number {
                    Number::StraightThrough => soft + (number - soft).stop_gradient(),
                    _ => soft,
                };
                return Discriminated { number, used: with_those_before(number), state, logs: Some(logs) };
            }
        };
        Discriminated { number, used, state: number, logs: None }
    }

    /// What is known before the roll-out, and the number of interests; `noise` as in [`Rdrsr::play`], none for the most probable number.
    pub fn start<'g>(
        &self,
        g: &'g Graph,
        history: &History<'g>,
        noise: Option<Var<'g>>,
    ) -> (Start<'g>, Discriminated<'g>) {
        let (user, events) = (history.of_users(&self.params), self.events(g, history));
        let discriminated = g.scope("discriminator", || self.discriminate(user, events, history, noise));
        let Discriminated { used, state, .. } = discriminated;
        (Start { user, events, items: history.items, used, number: state }, discriminated)
    }

    /// A training batch; `number`, Gumbel noise of the number of interests \[B, k\], takes the place of what is drawn.
    pub fn play<'g>(
        &self,
        g: &'g Graph,
        batch: &Batch<'g>,
        number: Option<Var<'g>>,
        actions: Actions<'g>,
    ) -> Played<'g> {
        let [b, k] = [batch.history.items.shape()[0], self.settings.interests];
        let drawn = || g.scope("number", || g.noise(Noise::Gumbel, [b, k]));
        let noise = self.settings.discriminates().then(|| number.unwrap_or_else(drawn));
        let (start, discriminated) = self.start(g, &batch.history, noise);
        let target = self.item_table(g).gather(batch.positive);
        let episode = g.scope("allocator", || self.allocator().episode(&start, Some(target), actions));
        self.judge(g, batch, (start, discriminated), episode, target)
    }

    /// What an episode with the `target` \[B, d\] as its last step is worth.
    pub fn judge<'g>(
        &self,
        g: &'g Graph,
        batch: &Batch<'g>,
        (start, discriminated): (Start<'g>, Discriminated<'g>),
        episode: Episode<'g>,
        target: Var<'g>,
    ) -> Played<'g> {
        let [b, last, k] = [0, 1, 2].map(|axis| episode.actions.shape()[axis]);
        let chosen = episode.actions.slice(1, last - 1, 1).reshape([b, k]);
        let row = weighted_sum(episode.interests, chosen);
        let rewards = g.scope("rewards", || self.rewards(&episode, chosen, start.used, target, batch));
        Played { events: start.events, discriminated, episode, row, rewards }
    }

    fn rewards<'g>(
        &self,
        episode: &Episode<'g>,
        chosen: Var<'g>,
        used: Var<'g>,
        target: Var<'g>,
        batch: &Batch<'g>,
    ) -> Rewards<'g> {
        let interests = episode.interests.stop_gradient();
        let (g, [b, k, d]) = (interests.graph(), [0, 1, 2].map(|axis| interests.shape()[axis]));
        let ids = batch.negative.unwrap_or(batch.positive);
        let negative = products(interests, self.item_table(g).gather(ids));
        let n = negative.shape()[2];
        // In a list for all rows, a row's own target and id 0 are not negatives.
        let kept = (ids.shape().len() == 1).then(|| {
            let (ids, own) = (ids.reshape([1, n]), batch.positive.reshape([b, 1]));
            let kept = ids.nonzero() - own.equal(ids) * ids.nonzero();
            kept.reshape([b, 1, n]).expand([b, k, n]).reshape([b * k, n])
        });
        let positive = (interests * target.reshape([b, 1, d])).sum(2).reshape([b * k]);
        let shares = (-surprise(positive, negative.reshape([b * k, n]), kept)).exp().reshape([b, k]).stop_gradient();
        let count = used.sum(1);
        let chosen = (shares * chosen).sum(1);
        let mean = (shares * used).sum(1) / count;
        // Interests that a user does not have are 0.
        let apart = (0..k * k).map(|i| (i / k != i % k) as u32 as f32).collect();
        let all = (interests.matmul_t(interests).abs() * g.constant(Tensor::f32([1, k, k], apart))).sum(2).sum(1);
        let pairs = (count * (count - g.scalar(1.0))).max(g.scalar(1.0));
        let orthogonal = -(all / pairs);
        let total = chosen - mean + orthogonal.scale(self.settings.orthogonality);
        Rewards { chosen, mean, orthogonal, total: total.stop_gradient() }
    }

    /// -log of the probability of what was drawn, times its reward: equation 22.
    fn policy_loss<'g>(&self, g: &'g Graph, played: &Played<'g>, weight: Var<'g>) -> Var<'g> {
        let Settings { reward_scale, baseline, number, .. } = self.settings;
        let mut reward = played.rewards.total;
        if baseline {
            let running = self.params.var(g, BASELINE);
            let now = weighted_mean(reward, weight).reshape([1]);
            reward = reward - running;
            g.assign(running, running.scale(DECAY) + now.scale(1.0 - DECAY));
        }
        let mut gain = played.episode.log_probability * reward.scale(reward_scale).stop_gradient();
        if let (Number::Reinforced, Some(logs)) = (number, played.discriminated.logs) {
            let chosen = played.rewards.chosen;
            let advantage = (chosen - weighted_mean(chosen, weight)).scale(reward_scale).stop_gradient();
            gain = gain + (logs * played.discriminated.number).sum(1) * advantage;
        }
        weighted_mean(-gain, weight)
    }

    /// What is added to the loss of the targets: equation 24.
    pub fn terms<'g>(&self, g: &'g Graph, played: &Played<'g>, weight: Var<'g>) -> Vec<Var<'g>> {
        let Settings { policy_weight, entropy_weight, .. } = self.settings;
        let mut terms = vec![];
        if policy_weight > 0.0 {
            terms.push(g.scope("policy", || self.policy_loss(g, played, weight)).scale(policy_weight));
        }
        if entropy_weight > 0.0 {
            terms.push(weighted_mean(played.episode.entropy, weight).scale(-entropy_weight));
        }
        terms
    }

    /// What says how a training goes.
    fn reported<'g>(&self, played: &Played<'g>, weight: Var<'g>) -> Vec<(String, Var<'g>)> {
        let mean = |of_rows: Var<'g>| weighted_mean(of_rows.stop_gradient(), weight);
        let (total, k) = (played.rewards.total, self.settings.interests);
        let mut reported = vec![
            ("policy_entropy".to_string(), mean(played.episode.entropy)),
            ("reward".to_string(), mean(total)),
            ("reward_variance".to_string(), mean((total - mean(total)).square())),
            ("reward_share".to_string(), mean(played.rewards.chosen)),
            ("reward_baseline".to_string(), mean(played.rewards.mean)),
            ("reward_orthogonality".to_string(), mean(played.rewards.orthogonal)),
        ];
        let b = total.shape()[0];
        let mut shares = |name: &str, number: Var<'g>| {
            for h in 0..k {
                reported.push((format!("{name}_{}", h + 1), mean(number.slice(1, h, 1).reshape([b]))));
            }
        };
        shares("number", played.discriminated.number);
        if let Some(logs) = played.discriminated.logs {
            shares("greedy_number", nearest(logs.stop_gradient()));
            reported.push(("number_entropy".to_string(), mean(-(logs * logs.exp()).sum(1))));
        }
        reported
    }

    /// The logarithm of the sum over all items of the exponentials of their products with interests \[B, k, d\]: \[B, k\]. The products
    /// are made for a part of the catalogue at a time.
    fn log_sums<'g>(&self, interests: Var<'g>) -> Var<'g> {
        const PART: usize = 8192;
        let [b, k] = [interests.shape()[0], interests.shape()[1]];
        let table = self.item_table(interests.graph());
        let of = |x: Var<'g>| {
            let most = x.max_over(1);
            (x - most.reshape([b * k, 1])).exp().sum(1).log() + most
        };
        let rows = table.shape()[0];
        let part = |first: usize| {
            let items = table.slice(0, first, PART.min(rows - first));
            let products = products(interests, items);
            of(products.reshape([b * k, items.shape()[0]])).reshape([b * k, 1])
        };
        let parts: Vec<Var> = (1..rows).step_by(PART).map(part).collect();
        of(interests.graph().concat(1, &parts)).reshape([b, k])
    }

    /// Users after the most probable episode.
    fn ranked<'g>(&self, g: &'g Graph, history: &History<'g>) -> (Ranked<'g>, Episode<'g>) {
        let (start, _) = self.start(g, history, None);
        let episode = g.scope("allocator", || self.allocator().episode(&start, None, Actions::Greedy));
        let offset = match self.settings.ranking {
            Ranking::Share => -g.scope("log_sums", || self.log_sums(episode.interests)),
            Ranking::Product | Ranking::Largest => start.used.scale(0.0),
        };
        let ranked = Ranked { interests: episode.interests, values: episode.values, offset, used: start.used };
        (ranked, episode)
    }

    /// What each item gives to the policy, \[items + 1, d_i\].
    fn of_items<'g>(&self, g: &'g Graph) -> Var<'g> {
        g.prepared("items_of_policy", || self.allocator().of_events(self.item_table(g)))
    }
}

impl Model for Rdrsr {
    fn name(&self) -> &'static str {
        "rdrsr"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn reads(&self) -> Reads {
        Reads { users: self.users, ..Reads::default() }
    }

    /// Products of interests with items are made for all interests.
    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        let Settings { interests, dim, policy_dim, .. } = self.settings;
        let what = "train.batch x model.interests x the larger of model.dim and model.policy_dim x (data.max_len + 1)";
        Some((what, vec![batch, interests, dim.max(policy_dim), window + 1]))
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn own_table<'g>(&self, g: &'g Graph, column: &str) -> Option<Var<'g>> {
        ["positive", "negative"].contains(&column).then(|| self.item_table(g))
    }

    fn output<'g>(&self, _g: &'g Graph) -> Option<Output<'g>> {
        None
    }

    /// \[B, k, d + d_i + 2\]: [`Ranked::pack`].
    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.ranked(g, history).0.pack()
    }

    fn shown<'g>(&self, g: &'g Graph, history: &History<'g>) -> Option<Interests<'g>> {
        let (Ranked { interests, used, .. }, episode) = self.ranked(g, history);
        let weights = if self.settings.ranking == Ranking::Largest { Weights::Best } else { Weights::ByItem };
        let own = Interests { weights, attention: Some(episode.actions), ..Interests::best(interests, interests) };
        Some(Interests { used: Some(used), ..own })
    }

    fn interest_weights<'g>(&self, g: &'g Graph, users: Var<'g>, items: Var<'g>) -> Var<'g> {
        let ranked = Ranked::unpack(users, self.settings.dim);
        self.allocator().choices(&ranked, self.item_table(g).gather(items), self.of_items(g).gather(items))
    }

    fn trained<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        let played = self.play(g, batch, None, Actions::Drawn);
        let terms = self.terms(g, &played, batch.weight);
        Trained { rows: played.row, terms, reported: self.reported(&played, batch.weight) }
    }

    /// Rows \[R, d\] of training are scored by dot products, users by the interest that the policy chooses for each item.
    fn scores<'g>(&self, g: &'g Graph, rows: Var<'g>, candidates: Candidates<'g>) -> Var<'g> {
        let table = self.item_table(g);
        let [r, d] = [rows.shape()[0], self.settings.dim];
        // Items [W, d] or [R, W, d], gathered by their ids as the batch has them: so their gradient is made by segments.
        let score = |items: Var<'g>, ids: Var<'g>| {
            if rows.shape().len() == 2 {
                let products = products(rows.reshape([r, 1, d]), items);
                return products.reshape([r, products.shape()[2]]);
            }
            let ranked = Ranked::unpack(rows, d);
            match self.settings.ranking {
                Ranking::Share | Ranking::Product => {
                    self.allocator().scores(&ranked, items, self.of_items(g).gather(ids))
                }
                Ranking::Largest => repeated(ranked.interests, ranked.used).interest_scores(items),
            }
        };
        match candidates {
            Candidates::Each(ids) => score(table.gather(ids).reshape([r, 1, d]), ids.reshape([r, 1])).reshape([r]),
            Candidates::Shared(ids) | Candidates::Own(ids) | Candidates::Listed(ids) => score(table.gather(ids), ids),
        }
    }
}
