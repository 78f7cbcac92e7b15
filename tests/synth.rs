//! The embedded world is what its description says, and its oracle is right.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use wgrec::data::readers;
use wgrec::data::synth::{Behaviour, Domain, DomainName, Kind, Noise, World, WorldConfig};
use wgrec::data::{Clock, Columns, SkipBad};

static DEFAULT: LazyLock<World> = LazyLock::new(|| World::generate(&WorldConfig::default(), 1).unwrap());

fn world() -> &'static Domain {
    &DEFAULT.domains[0]
}

/// A small default domain with some settings changed.
fn small(settings: &[(&str, &str)]) -> World {
    let mut config = WorldConfig { users: 200, ..WorldConfig::default() };
    settings.iter().for_each(|(key, value)| config.set(key, value).unwrap());
    World::generate(&config, 1).unwrap()
}

/// The clicks of each user (from 0) as (item id, noise), in order.
fn histories(domain: &Domain) -> Vec<Vec<(u32, bool)>> {
    let mut out = vec![vec![]; domain.users.len()];
    for e in domain.events.iter().filter(|e| e.behaviour == Behaviour::Click) {
        out[e.user as usize - 1].push((e.item, e.noise()));
    }
    out
}

/// NDCG@10 of each user's last click among all items not in the history before it, ties at the average rank.
fn ndcg10(domain: &Domain, scores: impl Fn(u32, &[(u32, bool)]) -> Vec<f32>) -> f64 {
    let histories = histories(domain);
    let total: f64 = histories
        .iter()
        .enumerate()
        .map(|(u, clicks)| {
            let (target, before) = clicks.split_last().unwrap();
            let scores = scores(u as u32 + 1, before);
            let seen: HashSet<u32> = before.iter().map(|c| c.0).collect();
            let own = scores[target.0 as usize - 1];
            let others = (1..=scores.len() as u32).filter(|i| *i != target.0 && !seen.contains(i));
            let (above, equal) = others.fold((0, 0), |(above, equal), i| {
                let s = scores[i as usize - 1];
                (above + (s > own) as usize, equal + (s == own) as usize)
            });
            let rank = above as f64 + equal as f64 / 2.0;
            if rank < 10.0 { 1.0 / (rank + 2.0).log2() } else { 0.0 }
        })
        .sum();
    total / histories.len() as f64
}

fn near(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{what}: found {found}; expected {expected} +- {tolerance}");
}

fn share(flags: impl Iterator<Item = bool>) -> f64 {
    let (yes, all) = flags.fold((0, 0), |(yes, all), f| (yes + f as usize, all + 1));
    yes as f64 / all as f64
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let [a, b] = [(); 2].map(|_| small(&[]));
    assert_eq!(a.domains[0].events, b.domains[0].events);
    assert_eq!(a.domains[0].items, b.domains[0].items);
    let other = World::generate(&a.shared.config, 2).unwrap();
    assert_ne!(a.domains[0].events, other.domains[0].events);
    let both = World::with_domains(&a.shared.config, 1, &[DomainName::E, DomainName::Default]).unwrap();
    assert_eq!(a.domains[0].events, both.domain(DomainName::Default).unwrap().events);
}

#[test]
fn more_users_leave_the_others_as_they_were() {
    let few = small(&[]);
    let more = small(&[("users", "300")]);
    let kept: Vec<_> = more.domains[0].events.iter().filter(|e| e.user <= 200).copied().collect();
    assert_eq!(few.domains[0].events, kept);
    assert_eq!(few.domains[0].users, more.domains[0].users[..200]);
}

#[test]
fn more_items_leave_vectors_and_the_order_of_popularity() {
    let few = small(&[]);
    let more = small(&[("items", "1100")]);
    let (few, more) = (&few.domains[0].items, &more.domains[0].items);
    for (a, b) in few.iter().zip(more) {
        assert_eq!((a.cluster, &a.vector, &a.text, &a.image), (b.cluster, &b.vector, &b.text, &b.image));
        assert_eq!(a.price.is_some(), b.price.is_some());
    }
    for w in few.windows(2).zip(more.windows(2)) {
        assert_eq!(w.0[0].popularity < w.0[1].popularity, w.1[0].popularity < w.1[1].popularity);
    }
}

#[test]
fn counts_are_those_of_the_description() {
    let domain = world();
    let config = WorldConfig::default();
    assert_eq!((domain.users.len(), domain.items.len()), (2000, 1000));
    for (k, p) in config.interest_counts.iter().enumerate() {
        near("K_u", share(domain.users.iter().map(|u| u.interests.len() == k + 1)), *p, 0.04);
    }
    let interests: Vec<_> = domain.users.iter().flat_map(|u| &u.interests).collect();
    near("wide", share(interests.iter().map(|i| i.wide)), 0.5, 0.03);
    for user in &domain.users {
        let clusters: HashSet<_> = user.interests.iter().map(|i| i.cluster).collect();
        assert_eq!(clusters.len(), user.interests.len());
        assert!((user.interests.iter().map(|i| i.weight).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((15..=200).contains(&user.length));
        assert_eq!(user.kinds.iter().filter(|k| **k == Kind::True).count(), user.length);
        assert!((0..100).all(|t| user.interests.iter().any(|i| i.alive(t as f64 / 100.0))));
    }
    let mut lengths: Vec<_> = domain.users.iter().map(|u| u.length).collect();
    lengths.sort_unstable();
    near("median length", lengths[1000] as f64, 40.0, 2.0);

    let mut sizes = vec![0; 40];
    domain.items.iter().for_each(|i| sizes[i.cluster] += 1);
    assert_eq!(sizes, [25; 40]);
    let mut popularity: Vec<f64> = domain.items.iter().map(|i| i.popularity).collect();
    popularity.sort_by(|a, b| b.total_cmp(a));
    near("popularity", popularity[0] / popularity[99], 100f64.powf(0.8), 1e-6);
    for (feature, missing) in [
        ("text", share(domain.items.iter().map(|i| i.text.is_none()))),
        ("image", share(domain.items.iter().map(|i| i.image.is_none()))),
        ("price", share(domain.items.iter().map(|i| i.price.is_none()))),
    ] {
        near(feature, missing, 0.1, 0.03);
    }
    assert!(domain.items.iter().filter_map(|i| i.price).all(|p| (0.0..=100.0).contains(&p)));
}

#[test]
fn the_log_is_that_of_the_description() {
    let domain = world();
    let events = &domain.events;
    assert!(events.windows(2).all(|w| w[0].time < w[1].time), "all times are distinct and sorted");
    let days = (events.last().unwrap().time - events[0].time) as f64 / 86_400_000.0;
    near("days", days, 60.0, 0.1);
    let once: HashSet<_> = events.iter().map(|e| (e.user, e.item, e.behaviour)).collect();
    assert_eq!(once.len(), events.len(), "an item occurs once for each user and behaviour");

    let clicks: Vec<_> = events.iter().filter(|e| e.behaviour == Behaviour::Click).collect();
    near("noise", share(clicks.iter().map(|e| e.noise())), 0.3, 0.006);
    assert!(events.iter().all(|e| e.behaviour == Behaviour::Click || !e.noise()), "noise is never converted");
    let half = events[0].time / 2 + events.last().unwrap().time / 2;
    near("noise in time", share(clicks.iter().filter(|e| e.noise()).map(|e| e.time < half)), 0.5, 0.01);

    let true_clicks = clicks.iter().filter(|e| !e.noise()).count() as f64;
    let count = |b| events.iter().filter(|e| e.behaviour == b).count() as f64;
    // Below the nominal shares where propensity times price fit would exceed 1, and by what would come after the last day.
    near("cart", count(Behaviour::Cart) / true_clicks, 0.25, 0.03);
    near("favourite", count(Behaviour::Favourite) / true_clicks, 0.15, 0.02);
    near("buy", count(Behaviour::Buy) / true_clicks, 0.30, 0.04);

    let mut first: HashMap<(u32, u32), (i64, i64)> = HashMap::new();
    let mut direct = vec![];
    for e in events {
        let entry = first.entry((e.user, e.item)).or_insert((i64::MAX, i64::MAX));
        match e.behaviour {
            Behaviour::Click => entry.0 = e.time,
            Behaviour::Buy => direct.push(entry.1 == i64::MAX),
            _ => entry.1 = entry.1.min(e.time),
        }
        assert!(entry.0 <= e.time, "nothing comes before its click");
    }
    near("direct buys", share(direct.into_iter()), 0.5, 0.02);
    for rating in 1..=5 {
        assert!(events.iter().any(|e| e.rating == rating));
    }
    // K_u(t) is what the user's interests say, and the interest of an event is alive.
    assert!(
        events.iter().all(|e| (1..=domain.users[e.user as usize - 1].interests.len()).contains(&(e.alive as usize)))
    );
}

#[test]
fn sequences_are_made_as_described() {
    let domain = world();
    let geometry = &DEFAULT.shared.geometry;
    let (mut same, mut followed, mut own, mut bridged) = (vec![], vec![], vec![], vec![]);
    for (u, user) in domain.users.iter().enumerate() {
        let mut last: Option<(usize, usize)> = None;
        let mut clicked = HashSet::new();
        for click in domain.walk(u) {
            let earlier = clicked.clone();
            clicked.insert(click.item);
            let Some(k) = click.interest else { continue };
            let (interest, item) = (&user.interests[k], &domain.items[click.item]);
            if interest.wide {
                bridged.push(item.cluster == geometry.bridge[interest.cluster]);
            } else if domain
                .items
                .iter()
                .enumerate()
                .any(|(i, x)| x.cluster == interest.cluster && !earlier.contains(&i))
            {
                own.push(item.cluster == interest.cluster);
            }
            if let Some((before, item_before)) = last {
                if click.alive > 1 {
                    same.push(before == k);
                }
                let successor = domain.items[item_before].successor;
                if before == k && !earlier.contains(&successor) {
                    followed.push(successor == click.item);
                }
            }
            last = Some((k, click.item));
        }
    }
    // A little more than nominal: the kernel, too, may draw the successor, and the transition the same interest.
    let (followed, same, own) = (share(followed.into_iter()), share(same.into_iter()), share(own.into_iter()));
    println!("successor {followed:.3}, same interest {same:.3}, own cluster of narrow interests {own:.3}");
    assert!((0.35..0.45).contains(&followed));
    assert!((0.80..0.95).contains(&same));
    assert!(own > 0.9);
    near("bridge", share(bridged.into_iter()), 0.3, 0.06);
}

#[test]
fn noise_can_be_left_out_or_come_in_bursts() {
    let clean = small(&[("rho", "0")]);
    assert!(clean.domains[0].events.iter().all(|e| !e.noise()));
    let most = small(&[("rho", "0.6")]);
    near("rho 0.6", share(histories(&most.domains[0]).into_iter().flatten().map(|c| c.1)), 0.6, 0.02);

    let bursty = small(&[("noise", "bursty"), ("users", "1000")]);
    let domain = &bursty.domains[0];
    assert_eq!(bursty.shared.config.noise, Noise::Bursty);
    near("bursty", share(histories(domain).into_iter().flatten().map(|c| c.1)), 0.3, 0.02);
    for (u, user) in domain.users.iter().enumerate() {
        let mut clicked = HashSet::new();
        let mut run = 0;
        for (kind, click) in user.kinds.iter().zip(domain.walk(u)) {
            if let Kind::Burst { cluster, .. } = *kind {
                run += 1;
                let left =
                    || (0..domain.items.len()).any(|i| domain.items[i].cluster == cluster && !clicked.contains(&i));
                assert!(domain.items[click.item].cluster == cluster || !left(), "a run stays in its cluster");
            } else {
                assert!(run == 0 || (5..=10).contains(&run));
                run = 0;
            }
            clicked.insert(click.item);
        }
    }
}

/// Sum over clicks of ln p(click) + entropy, in units of its standard deviation: a standard normal if the oracle is right.
fn calibration(domain: &Domain, users: usize) -> f64 {
    let (mut sum, mut variance) = (0.0, 0.0);
    for u in 0..users {
        let mut walk = domain.walk(u);
        while let Some(p) = walk.probabilities() {
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            let click = walk.next().unwrap();
            assert!(p[click.item] > 0.0);
            let information = |p: &f64| if *p > 0.0 { p.ln() } else { 0.0 };
            let mean: f64 = p.iter().map(|p| p * information(p)).sum();
            variance += p.iter().map(|p| p * (information(p) - mean).powi(2)).sum::<f64>();
            sum += information(&p[click.item]) - mean;
        }
    }
    sum / variance.sqrt()
}

#[test]
fn the_oracle_is_calibrated() {
    for settings in [&[][..], &[("rho", "0")], &[("noise", "bursty")], &[("wide", "1")], &[("successor", "0")]] {
        let z = calibration(&small(settings).domains[0], 60);
        assert!(z.abs() < 4.0, "{settings:?}: {z} standard deviations");
    }
    let config = WorldConfig { target_users: 60, ..WorldConfig::default() };
    let e = World::with_domains(&config, 1, &[DomainName::E]).unwrap();
    assert!(calibration(&e.domains[0], 60).abs() < 4.0);
}

#[test]
fn the_oracle_is_far_above_popularity() {
    let domain = world();
    let histories = histories(domain);
    let mut counts = vec![0f32; domain.items.len()];
    histories.iter().for_each(|h| h[..h.len() - 1].iter().for_each(|c| counts[c.0 as usize - 1] += 1.0));
    let pop = ndcg10(domain, |_, _| counts.clone());
    let oracle = ndcg10(domain, |user, before| domain.oracle_scores(user, before.len()).unwrap());
    println!("NDCG@10 on the last click, full ranking, history masked: pop {pop:.4}, oracle {oracle:.4}");
    assert!(oracle > 3.0 * pop);
    assert!(domain.oracle_scores(1, histories[0].len()).is_none());
}

#[test]
fn attributes_are_decided_by_the_dominant_group_or_by_nothing() {
    let domain = world();
    let (geometry, bayes) = (&DEFAULT.shared.geometry, DEFAULT.bayes_accuracy());
    let ages = share(domain.users.iter().map(|u| u.age == geometry.age_of_group[u.dominant_group]));
    let genders = share(domain.users.iter().map(|u| u.gender == geometry.gender_of_group[u.dominant_group]));
    near("age", ages, bayes.age, 0.03);
    near("gender", genders, bayes.gender, 0.03);
    assert_eq!((bayes.age, bayes.gender, bayes.occupation), (0.6, 0.75, 0.1));

    // Chi-squared of occupation against the dominant group and against age: 63 and 36 degrees of freedom.
    let independent = |classes: usize, of: &dyn Fn(usize) -> usize| {
        let mut table = vec![vec![0.0; classes]; 10];
        (0..domain.users.len()).for_each(|u| table[domain.users[u].occupation as usize][of(u)] += 1.0);
        let rows: Vec<f64> = table.iter().map(|r| r.iter().sum()).collect();
        let columns: Vec<f64> = (0..classes).map(|c| table.iter().map(|r| r[c]).sum()).collect();
        let cell = |r: usize, c: usize| {
            let expected = rows[r] * columns[c] / domain.users.len() as f64;
            (table[r][c] - expected).powi(2) / expected
        };
        let chi: f64 = (0..10).flat_map(|r| (0..classes).map(move |c| (r, c))).map(|(r, c)| cell(r, c)).sum();
        let freedom = 9.0 * (classes - 1) as f64;
        (chi - freedom) / (2.0 * freedom).sqrt()
    };
    assert!(independent(8, &|u| domain.users[u].dominant_group).abs() < 4.0);
    assert!(independent(5, &|u| domain.users[u].age as usize).abs() < 4.0);
}

#[test]
fn domains_share_the_geometry_and_nothing_else() {
    let config = WorldConfig { auxiliary_users: 50, ..WorldConfig::default() };
    let world = World::with_domains(&config, 1, &DomainName::ALL).unwrap();
    for domain in &world.domains[1..5] {
        assert_eq!((domain.users.len(), domain.items.len()), (50, 500));
        assert!(domain.items.iter().all(|i| !i.cold));
    }
    let e = world.domain(DomainName::E).unwrap();
    assert_eq!((e.users.len(), e.items.len()), (500, 400));
    near("cold", share(e.items.iter().map(|i| i.cold)), 0.1, 0.05);
    for clicks in histories(e) {
        let (last, before) = clicks.split_last().unwrap();
        assert!(before.iter().all(|c| !e.items[c.0 as usize - 1].cold), "{last:?}");
    }
    assert!(histories(e).iter().any(|h| e.items[h.last().unwrap().0 as usize - 1].cold));

    // Texts tell the domains apart by their mean; images do not.
    let a = world.domain(DomainName::A).unwrap();
    assert_ne!(a.items[0].vector, e.items[0].vector);
    let mean = |features: Vec<&Vec<f32>>| -> Vec<f32> {
        (0..64).map(|d| features.iter().map(|f| f[d]).sum::<f32>() / features.len() as f32).collect()
    };
    let distance = |x: Vec<f32>, y: Vec<f32>| x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f32>().sqrt();
    let text = |d: &Domain| mean(d.items.iter().filter_map(|i| i.text.as_ref()).collect());
    let image = |d: &Domain| mean(d.items.iter().filter_map(|i| i.image.as_ref()).collect());
    assert!(distance(text(a), text(e)) > 3.0);
    assert!(distance(image(a), image(e)) < 1.0);
}

/// At kappa = 0, E's users like the texts that all others like; at 1 what they like is at a right angle to it.
#[test]
fn kappa_turns_the_text_preferences_of_the_target_domain() {
    let common = |kappa: f64, name: DomainName| -> f64 {
        let world = World::with_domains(&WorldConfig { kappa, ..WorldConfig::default() }, 1, &[name]).unwrap();
        let taste = &world.shared.geometry.text_taste;
        let norm = taste.iter().map(|x| x * x).sum::<f64>().sqrt();
        let users = &world.domains[0].users;
        let along = |u: &[f64]| u.iter().zip(taste).map(|(a, b)| a * b / norm).sum::<f64>();
        users.iter().map(|u| along(&u.text_taste)).sum::<f64>() / users.len() as f64
    };
    let (aligned, half, turned) = (common(0.0, DomainName::E), common(0.5, DomainName::E), common(1.0, DomainName::E));
    assert!(aligned > 0.4);
    near("A", common(1.0, DomainName::A), aligned, 0.05);
    near("kappa 0.5", half, aligned * 0.5f64.sqrt(), 0.05);
    near("kappa 1", turned, 0.0, 0.05);
}

#[test]
fn wrong_settings_are_named() {
    let mut config = WorldConfig::default();
    let message = config.set("wdie", "1").unwrap_err().to_string();
    assert!(message.contains("wide"), "{message}");
    assert!(config.set("users", "many").unwrap_err().to_string().contains("users"));
    assert!(config.set("noise", "loud").unwrap_err().to_string().contains("uniform"));
    assert!(config.set("users", "-1").is_err() && config.set("interest_counts", "half").is_err());
    config.set("death", ".2").unwrap();
    config.set("wide", "1").unwrap();
    config.set("interest_counts", "[0.0, 0.0, 1.0]").unwrap();
    assert_eq!((config.death, config.wide, config.interest_counts.len()), (0.2, 1.0, 3));
    config.set("rho", "0.9").unwrap();
    assert!(World::generate(&config, 1).unwrap_err().to_string().starts_with("rho: found 0.9"));
    let small = WorldConfig { items: 100, ..WorldConfig::default() };
    assert!(World::generate(&small, 1).unwrap_err().to_string().starts_with("items"));
}

#[test]
fn a_written_world_can_be_read_and_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("world");
    let mut config = WorldConfig { users: 30, target_users: 20, ..WorldConfig::default() };
    config.set("noise", "bursty").unwrap();
    let world = World::with_domains(&config, 7, &[DomainName::Default, DomainName::E]).unwrap();
    world.write(&dir).unwrap();

    let again = World::open(&dir).unwrap();
    assert_eq!((&again.shared.config, again.shared.seed), (&config, 7));
    for (a, b) in world.domains.iter().zip(&again.domains) {
        assert_eq!((a.name, &a.events), (b.name, &b.events));
    }
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let lines = |name: &str| String::from_utf8(read(name)).unwrap().lines().count() - 1;
    let domain = &world.domains[0];
    assert_eq!(lines("default/events.inter"), domain.events.len());
    assert_eq!(lines("default/clicks.inter"), domain.clicks().user.len());
    assert_eq!((lines("default/events.user"), lines("default/events.item"), lines("E/events.item")), (30, 1000, 400));
    let clicks = readers::read(
        &readers::locate(&dir.join("default/clicks.inter"), None, &Columns::default()).unwrap(),
        &Columns::default(),
        SkipBad::NONE,
    )
    .unwrap();
    assert_eq!((clicks.clock, &clicks.time), (Clock::Milliseconds, &domain.clicks().time));
    let events = readers::read(
        &readers::locate(&dir.join("E/events.inter"), None, &Columns::default()).unwrap(),
        &Columns::default(),
        SkipBad::NONE,
    )
    .unwrap();
    assert_eq!(events.len(), world.domains[1].events.len());
    assert!(events.behaviours.iter().all(|b| Behaviour::ALL.iter().any(|known| known.name() == b)));
    let bytes = read("default/truth.safetensors");
    let truth = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(truth.tensor("oracle.test").unwrap().shape(), [30, 1000]);
    assert_eq!(truth.tensor("event.noise").unwrap().shape(), [domain.events.len()]);
    let oracle = truth.tensor("oracle.test").unwrap();
    let first: Vec<f32> =
        oracle.data().chunks_exact(4).take(1000).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!(first, domain.oracle_scores(1, histories(domain)[0].len() - 1).unwrap());

    // A world is replaced; another folder is not.
    let before = read("default/events.inter");
    World::with_domains(&config, 8, &[DomainName::Default]).unwrap().write(&dir).unwrap();
    assert_ne!(before, read("default/events.inter"));
    assert!(!dir.join("E").exists());
    std::fs::write(dir.join("notes.txt"), "mine").unwrap();
    assert!(world.write(&dir).unwrap_err().to_string().contains("notes.txt"));
    assert!(world.write(folder.path()).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the world");
}
