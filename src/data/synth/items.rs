//! The items of a domain.

use super::draw::{normalise, normals};
use super::geometry::dot;
use super::{DomainName, Shared, entity};
use crate::tensor::philox::Stream;

/// One item.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub cluster: usize,
    /// The cluster's group: the item's genre.
    pub group: usize,
    /// v, \[dim\].
    pub vector: Vec<f64>,
    /// Share of the domain's popularity.
    pub popularity: f64,
    /// The item (from 0) that follows this one with probability `successor`.
    pub successor: usize,
    /// Occurs as the last click of a history or not at all.
    pub cold: bool,
    /// \[text_width\] and \[image_width\]; `None` where missing.
    pub text: Option<Vec<f32>>,
    pub image: Option<Vec<f32>>,
    /// In [0, `price_max`]; `None` where missing.
    pub price: Option<f32>,
}

/// All items of a domain. A larger catalogue keeps the vector, cluster, text, image and flags of every earlier item and the
/// order of their popularity. It cannot keep popularity itself, a share of the whole, nor successors and prices, which
/// depend on what else there is, so nor events.
pub(super) fn draw_items(shared: &Shared, domain: DomainName) -> Vec<Item> {
    let Shared { config, seed, geometry } = shared;
    let seed = *seed;
    let n = domain.items(config);
    let half = config.dim / 2;
    let direction = {
        let d = normals(&mut Stream::new(seed, "domain direction", domain as u64), config.text_width);
        let norm = dot(&d, &d).sqrt();
        d.iter().map(|x| config.domain_offset * x / norm).collect::<Vec<f64>>()
    };
    let mut popularity_keys = vec![];
    let mut successor_keys = vec![];
    let mut prices = vec![];
    let mut items = vec![];
    for i in 0..n {
        let mut stream = Stream::new(seed, "item", entity(domain, i));
        let cluster = cluster_of(config.clusters, seed, domain, i);
        let vector: Vec<f64> =
            geometry.centres[cluster].iter().map(|m| m + config.item_spread * stream.normal()).collect();
        popularity_keys.push(stream.next_u64());
        successor_keys.push(stream.next_u64());
        let missing = [(); 3].map(|_| stream.uniform() < config.missing);
        let cold = stream.uniform() < config.cold && domain == DomainName::E;
        let mut feature = |map: &[Vec<f64>], latent: &[f64], offset: &[f64]| -> Vec<f32> {
            let noise = |s: &mut Stream| config.feature_noise * s.normal();
            map.iter().zip(offset).map(|(row, o)| (dot(row, latent) + o + noise(&mut stream)) as f32).collect()
        };
        let text = feature(&geometry.text_map, &vector[..half], &direction);
        let image = feature(&geometry.image_map, &vector[half..], &vec![0.0; config.image_width]);
        prices.push(vector[0].exp());
        items.push(Item {
            cluster,
            group: cluster % config.groups,
            vector,
            popularity: 0.0,
            successor: 0,
            cold,
            text: (!missing[0]).then_some(text),
            image: (!missing[1]).then_some(image),
            price: (!missing[2]).then_some(0.0),
        });
    }

    let mut by_rank: Vec<usize> = (0..n).collect();
    by_rank.sort_by_key(|&i| popularity_keys[i]);
    let mut popularity: Vec<f64> = (1..=n).map(|rank| (rank as f64).powf(-config.popularity_exponent)).collect();
    normalise(&mut popularity);
    for (&i, share) in by_rank.iter().zip(popularity) {
        items[i].popularity = share;
    }

    // The items of a cluster form a circle of random order, and each is followed by its neighbour.
    let mut circles: Vec<Vec<usize>> = vec![vec![]; config.clusters];
    (0..n).for_each(|i| circles[items[i].cluster].push(i));
    for circle in &mut circles {
        circle.sort_by_key(|&i| successor_keys[i]);
        for (place, &i) in circle.iter().enumerate() {
            items[i].successor = circle[(place + 1) % circle.len()];
        }
    }

    let (low, high) = prices.iter().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(*p), h.max(*p)));
    for (item, price) in items.iter_mut().zip(&prices) {
        item.price = item.price.map(|_| (config.price_max * (price - low) / (high - low)) as f32);
    }
    items
}

/// Each run of `clusters` items holds every cluster once, in a random order: clusters are of equal size, and an item's
/// number says nothing.
fn cluster_of(clusters: usize, seed: u64, domain: DomainName, item: usize) -> usize {
    let mut order: Vec<usize> = (0..clusters).collect();
    Stream::new(seed, "clusters of items", entity(domain, item / clusters)).shuffle(&mut order);
    order[item % clusters]
}
