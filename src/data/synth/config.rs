//! Every number of the world, with its default.

use super::DomainName;
use crate::error::{Error, Result, nearest};
use serde::{Deserialize, Serialize};

/// How the noise clicks are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Noise {
    /// Each click is noise with the same probability, its item drawn by popularity.
    Uniform,
    /// The same share in runs of `burst_min` to `burst_max` clicks within one cluster: a control that no low-pass filter removes.
    Bursty,
}

/// Every number of the world. [`Default`] gives the world that `wgrec train` uses without data; lengths are in the unit of the
/// item space unless said otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorldConfig {
    /// The domain whose users and items are the data.
    pub domain: DomainName,
    /// Users of the default domain.
    pub users: usize,
    /// Users of each auxiliary domain, A to D.
    pub auxiliary_users: usize,
    /// Users of the target domain, E.
    pub target_users: usize,
    /// Items of the default domain.
    pub items: usize,
    /// Items of each auxiliary domain, A to D.
    pub auxiliary_items: usize,
    /// Items of the target domain, E.
    pub target_items: usize,

    /// Groups of clusters; a group is a genre. Cluster c belongs to group c mod `groups`.
    pub groups: usize,
    /// Clusters of items.
    pub clusters: usize,
    /// Width of the item space, even: the first half is seen in texts, the second in images.
    pub dim: usize,
    /// Standard deviation of group centres around 0.
    pub group_spread: f64,
    /// Standard deviation of cluster centres around their group.
    pub cluster_spread: f64,
    /// Standard deviation of items around their cluster.
    pub item_spread: f64,
    /// Popularity is proportional to rank^-`popularity_exponent`.
    pub popularity_exponent: f64,
    /// Days that the log covers.
    pub days: f64,
    /// The first moment of the log, in Unix seconds.
    pub start: i64,

    /// Probability that a user has 1, 2, ... interests.
    pub interest_counts: Vec<f64>,
    /// Concentration of the Dirichlet that the weights of a user's interests are drawn from.
    pub interest_concentration: f64,
    /// Interests are born uniformly over this first part of a history.
    pub birth_span: f64,
    /// Probability that an interest dies before the history ends.
    pub death: f64,
    /// Probability that an interest is wide.
    pub wide: f64,
    /// Share of a wide interest's items that come from its bridge cluster.
    pub bridge: f64,
    /// Probability that the next event keeps the last one's interest.
    pub sticky: f64,
    /// Concentration of the Dirichlet that each row of the transition between groups is drawn from.
    pub transition_concentration: f64,
    /// Probability that the next item is the successor of the interest's last item.
    pub successor: f64,
    /// Radius s of the kernel exp(-|v - m|^2 / 2 s^2) of narrow interests.
    pub narrow_radius: f64,
    /// Radius s of the kernel exp(-|v - m|^2 / 2 s^2) of wide interests.
    pub wide_radius: f64,
    /// Standard deviation of a step of an interest's centre m, in each coordinate.
    pub drift: f64,
    /// Median of the number of true events of a user, which is lognormal.
    pub length_median: f64,
    /// Standard deviation of the log of that number.
    pub length_sigma: f64,
    /// Least number of true events of a user.
    pub length_min: usize,
    /// Greatest number of true events of a user.
    pub length_max: usize,

    /// Probability that a cart follows a true click, before it is scaled by the user's propensity and by price fit.
    pub cart: f64,
    /// Probability that a favourite follows a true click, scaled likewise.
    pub favourite: f64,
    /// Probability that a buy follows a true click, scaled likewise.
    pub buy: f64,
    /// A user's propensity is Gamma(shape, 1 / shape): mean 1.
    pub propensity_shape: f64,
    /// Share of the buys that have no earlier cart or favourite.
    pub direct_buys: f64,
    /// Mean delay of a cart after its click, in days; exponential.
    pub cart_delay: f64,
    /// Mean delay of a favourite after its click, in days; exponential.
    pub favourite_delay: f64,
    /// Mean delay of a buy after the last of click, cart and favourite, in days; exponential.
    pub buy_delay: f64,

    /// Share of the clicks that are noise, 0 to 0.6.
    pub rho: f64,
    /// How the noise clicks are laid out.
    pub noise: Noise,
    /// Least length of a run of `bursty` noise, in clicks.
    pub burst_min: u32,
    /// Greatest length of a run of `bursty` noise, in clicks.
    pub burst_max: u32,

    /// Mean of the ratings: round(`rating_mean` + affinity + `rating_noise` N(0, 1)), clipped to 1..=5.
    pub rating_mean: f64,
    /// Standard deviation of a rating's noise.
    pub rating_noise: f64,
    /// Standard deviation of the affinity of a random user to a random item; its four parts have a quarter of the variance each.
    pub affinity_spread: f64,
    /// Share of the variance of text and image preferences that all users have in common.
    pub shared_taste: f64,
    /// How much users' affinity decides what they click: an item's weight among those of an interest is multiplied by
    /// exp(`taste` x affinity). 0: not at all.
    pub taste: f64,
    /// Conflict, 0 to 1: in E the text preferences are turned by kappa * 90 degrees against the other domains.
    pub kappa: f64,

    /// Classes of the attribute age.
    pub ages: usize,
    /// Classes of the attribute gender.
    pub genders: usize,
    /// Classes of the attribute occupation.
    pub occupations: usize,
    /// Probability that age and gender are decided by the user's dominant group.
    pub attribute_signal: f64,

    /// Width of the text features.
    pub text_width: usize,
    /// Width of the image features.
    pub image_width: usize,
    /// Norm of a domain's offset in its text features.
    pub domain_offset: f64,
    /// Standard deviation of the noise of text and image features.
    pub feature_noise: f64,
    /// Prices are scaled to [0, `price_max`] over the items of a domain.
    pub price_max: f64,
    /// Share of the items whose text (and, apart from that, image, price) is missing.
    pub missing: f64,
    /// Share of E's items that occur as the last click of a history or not at all, so never in training.
    pub cold: f64,
}

impl Default for WorldConfig {
    fn default() -> WorldConfig {
        WorldConfig {
            domain: DomainName::Default,
            users: 2000,
            auxiliary_users: 800,
            target_users: 500,
            items: 1000,
            auxiliary_items: 500,
            target_items: 400,
            groups: 8,
            clusters: 40,
            dim: 16,
            group_spread: 1.0,
            cluster_spread: 0.5,
            item_spread: 0.3,
            popularity_exponent: 0.8,
            days: 60.0,
            start: 1_704_067_200,
            interest_counts: vec![0.25, 0.30, 0.25, 0.15, 0.05],
            interest_concentration: 1.0,
            birth_span: 0.7,
            death: 0.1,
            wide: 0.5,
            bridge: 0.3,
            sticky: 0.8,
            transition_concentration: 0.5,
            successor: 0.35,
            narrow_radius: 0.3,
            wide_radius: 1.0,
            drift: 0.02,
            length_median: 40.0,
            length_sigma: 0.5,
            length_min: 15,
            length_max: 200,
            cart: 0.25,
            favourite: 0.15,
            buy: 0.30,
            propensity_shape: 4.0,
            direct_buys: 0.5,
            cart_delay: 0.05,
            favourite_delay: 0.05,
            buy_delay: 1.0,
            rho: 0.3,
            noise: Noise::Uniform,
            burst_min: 5,
            burst_max: 10,
            rating_mean: 3.5,
            rating_noise: 0.7,
            affinity_spread: 1.0,
            shared_taste: 0.5,
            taste: 0.0,
            kappa: 0.5,
            ages: 5,
            genders: 2,
            occupations: 10,
            attribute_signal: 0.5,
            text_width: 64,
            image_width: 64,
            domain_offset: 3.0,
            feature_noise: 0.5,
            price_max: 100.0,
            missing: 0.1,
            cold: 0.1,
        }
    }
}

impl WorldConfig {
    /// Changes one setting, `text` being a TOML value ("0.6", "[0, 0, 1]", "\"bursty\"") or a bare word ("bursty").
    ///
    /// An unknown key is an error that names the nearest known one; so is a value of another type.
    pub fn set(&mut self, key: &str, text: &str) -> Result<()> {
        let mut table = toml::Table::try_from(&*self).expect("a world's settings are a TOML table");
        let Some(old) = table.get(key).cloned() else {
            let nearest = nearest(key, table.keys().map(String::as_str));
            let nearest = nearest.map(|k| format!("; did you mean {k}?")).unwrap_or_default();
            return Err(Error::Usage(format!("{key}: the world has no such setting{nearest}")));
        };
        let expected = old.type_str();
        let parsed = match expected {
            // As in a shell: .3 and 1 are as good as 0.3 and 1.0.
            "float" => text.parse().ok().map(toml::Value::Float),
            "string" => Some(toml::Value::String(text.trim_matches('"').to_string())),
            _ => toml::from_str::<toml::Table>(&format!("value = {text}")).ok().and_then(|mut t| t.remove("value")),
        };
        let wrong = || Error::Usage(format!("{key}: found {text}; expected a value like {old}"));
        table.insert(key.to_string(), parsed.ok_or_else(wrong)?);
        *self = table.try_into().map_err(|_| wrong())?;
        Ok(())
    }

    /// Checks that a world can be drawn from these numbers; the error names the setting.
    pub fn check(&self) -> Result<()> {
        for (key, value) in [
            ("birth_span", self.birth_span),
            ("death", self.death),
            ("wide", self.wide),
            ("bridge", self.bridge),
            ("sticky", self.sticky),
            ("successor", self.successor),
            ("cart", self.cart),
            ("favourite", self.favourite),
            ("buy", self.buy),
            ("direct_buys", self.direct_buys),
            ("shared_taste", self.shared_taste),
            ("kappa", self.kappa),
            ("attribute_signal", self.attribute_signal),
            ("missing", self.missing),
        ] {
            check(key, value, (0.0..=1.0).contains(&value), "0 to 1")?;
        }
        check("rho", self.rho, (0.0..=0.6).contains(&self.rho), "0 to 0.6")?;
        check("cold", self.cold, (0.0..=0.4).contains(&self.cold), "0 to 0.4")?;
        for (key, value) in [
            ("narrow_radius", self.narrow_radius),
            ("wide_radius", self.wide_radius),
            ("length_median", self.length_median),
            ("propensity_shape", self.propensity_shape),
            ("cart_delay", self.cart_delay),
            ("favourite_delay", self.favourite_delay),
            ("buy_delay", self.buy_delay),
            ("item_spread", self.item_spread),
            ("price_max", self.price_max),
        ] {
            check(key, value, value > 0.0 && value.is_finite(), "a number above 0")?;
        }
        for (key, value) in [
            ("group_spread", self.group_spread),
            ("cluster_spread", self.cluster_spread),
            ("popularity_exponent", self.popularity_exponent),
            ("drift", self.drift),
            ("length_sigma", self.length_sigma),
            ("rating_noise", self.rating_noise),
            ("affinity_spread", self.affinity_spread),
            ("domain_offset", self.domain_offset),
            ("feature_noise", self.feature_noise),
            ("taste", self.taste),
        ] {
            check(key, value, value >= 0.0 && value.is_finite(), "a number of at least 0")?;
        }
        check("rating_mean", self.rating_mean, self.rating_mean.is_finite(), "a finite number")?;
        // Below 0.05 a Dirichlet's weights underflow.
        for (key, value) in [
            ("interest_concentration", self.interest_concentration),
            ("transition_concentration", self.transition_concentration),
        ] {
            check(key, value, value >= 0.05 && value.is_finite(), "at least 0.05")?;
        }
        for (key, value) in [
            ("users", self.users),
            ("auxiliary_users", self.auxiliary_users),
            ("target_users", self.target_users),
            ("groups", self.groups),
        ] {
            check(key, value, (1..=1 << 24).contains(&value), "at least 1 and at most 2^24")?;
        }
        // Classes are kept in a byte.
        for (key, value) in [("ages", self.ages), ("genders", self.genders), ("occupations", self.occupations)] {
            check(key, value, (1..=256).contains(&value), "1 to 256")?;
        }
        check("dim", self.dim, self.dim >= 2 && self.dim.is_multiple_of(2), "an even number of at least 2")?;
        for (key, value) in [("text_width", self.text_width), ("image_width", self.image_width)] {
            check(key, value, value >= self.dim / 2, "at least dim / 2")?;
        }
        check("clusters", self.clusters, self.clusters >= self.groups.max(2), "at least 2 and at least groups")?;
        // Leave-one-out needs a click to learn from, one to validate and one to test.
        check("length_min", self.length_min, (3..1 << 24).contains(&self.length_min), "at least 3")?;
        check("length_max", self.length_max, self.length_max >= self.length_min, "at least length_min")?;
        for (key, value) in
            [("items", self.items), ("auxiliary_items", self.auxiliary_items), ("target_items", self.target_items)]
        {
            let enough = (2 * self.length_max).max(2 * self.clusters);
            check(key, value, (enough..1 << 24).contains(&value), "at least 2 length_max and at least 2 clusters")?;
        }
        let counts = &self.interest_counts;
        let total: f64 = counts.iter().sum();
        let good = (1..=self.clusters).contains(&counts.len())
            && counts.len() <= 255
            && counts.iter().all(|p| *p >= 0.0)
            && (total - 1.0).abs() < 1e-6;
        if !good {
            let message = format!(
                "interest_counts: found {counts:?}; expected probabilities that sum to 1, at most one a cluster"
            );
            return Err(Error::Usage(message));
        }
        check("burst_min", self.burst_min, self.burst_min >= 1, "at least 1")?;
        check("burst_max", self.burst_max, self.burst_max >= self.burst_min, "at least burst_min")?;
        if self.noise == Noise::Bursty && self.burst_start() > 1.0 {
            let message = format!(
                "burst_min, burst_max: runs of {} to {} are too short for rho {}",
                self.burst_min, self.burst_max, self.rho
            );
            return Err(Error::Usage(message));
        }
        check("start", self.start, (0..4_000_000_000).contains(&self.start), "Unix seconds before the year 2096")?;
        // Every click can be followed by three more events, and each event of a user needs a tick of its own.
        let needed = 4 * self.items.max(self.auxiliary_items).max(self.target_items);
        let days = self.days.is_finite() && self.days <= 3650.0 && self.ticks() >= needed as i64;
        check("days", self.days, days, "more days (at most 3650): a user's events need distinct times")
    }

    /// Probability that a run of noise clicks follows a true click, so that its mean length gives the share `rho`.
    pub(super) fn burst_start(&self) -> f64 {
        self.rho / (1.0 - self.rho) / (0.5 * (self.burst_min + self.burst_max) as f64)
    }

    /// Milliseconds between two ticks of a user's clock: user u's times are u modulo this, so that no two users share one.
    /// Worlds of up to 2^16 users have the same clock, so that a larger one extends a smaller one.
    pub(super) fn tick(&self) -> i64 {
        let users = self.users.max(self.auxiliary_users).max(self.target_users);
        users.next_power_of_two().max(1 << 16) as i64
    }

    /// Ticks in the days that the log covers.
    pub(super) fn ticks(&self) -> i64 {
        (self.days * 86_400_000.0) as i64 / self.tick()
    }

    /// Standard deviation of a coordinate of a random item.
    pub(super) fn spread(&self) -> f64 {
        (self.group_spread.powi(2) + self.cluster_spread.powi(2) + self.item_spread.powi(2)).sqrt()
    }
}

fn check(key: &str, found: impl std::fmt::Display, good: bool, expected: &str) -> Result<()> {
    if good { Ok(()) } else { Err(Error::Usage(format!("{key}: found {found}; expected {expected}"))) }
}
