//! What all domains share: where groups and clusters lie, how interests follow each other, and how features are made.

use super::config::WorldConfig;
use super::draw::{dirichlet, normals};
use crate::tensor::philox::Stream;

/// The part of the truth that all domains share.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Geometry {
    /// Centre of each group, \[groups\]\[dim\].
    pub group_centres: Vec<Vec<f64>>,
    /// Centre m_c of each cluster, \[clusters\]\[dim\].
    pub centres: Vec<Vec<f64>>,
    /// Bridge cluster b(c) of each cluster: a permutation without fixed points.
    pub bridge: Vec<usize>,
    /// T: weight of going from a group (row) to another; rows sum to 1.
    pub transition: Vec<Vec<f64>>,
    /// Age class and gender that a dominant group decides.
    pub age_of_group: Vec<u8>,
    pub gender_of_group: Vec<u8>,
    /// What all users like in texts and images, \[dim / 2\] each; E turns the first.
    pub text_taste: Vec<f64>,
    pub image_taste: Vec<f64>,
    /// R and R': \[text_width or image_width\]\[dim / 2\], orthonormal columns.
    pub text_map: Vec<Vec<f64>>,
    pub image_map: Vec<Vec<f64>>,
}

impl Geometry {
    pub(super) fn draw(config: &WorldConfig, seed: u64) -> Geometry {
        let WorldConfig { groups, clusters, dim, .. } = *config;
        let half = dim / 2;
        let stream = |purpose, entity: usize| Stream::new(seed, purpose, entity as u64);
        let around = |centre: &[f64], spread: f64, mut s: Stream| -> Vec<f64> {
            centre.iter().map(|m| m + spread * s.normal()).collect()
        };
        let group_centres: Vec<_> =
            (0..groups).map(|g| around(&vec![0.0; dim], config.group_spread, stream("group", g))).collect();
        let centres = (0..clusters)
            .map(|c| around(&group_centres[c % groups], config.cluster_spread, stream("cluster", c)))
            .collect();

        let mut circle: Vec<usize> = (0..clusters).collect();
        stream("bridge", 0).shuffle(&mut circle);
        let mut bridge = vec![0; clusters];
        for (i, &c) in circle.iter().enumerate() {
            bridge[c] = circle[(i + 1) % clusters];
        }

        let transition = (0..groups)
            .map(|g| dirichlet(&mut stream("transition", g), groups, config.transition_concentration))
            .collect();
        let classes = |purpose, classes: usize| -> Vec<u8> {
            let mut order: Vec<usize> = (0..groups).collect();
            stream(purpose, 0).shuffle(&mut order);
            order.iter().map(|g| (g % classes) as u8).collect()
        };
        Geometry {
            group_centres,
            centres,
            bridge,
            transition,
            age_of_group: classes("age of group", config.ages),
            gender_of_group: classes("gender of group", config.genders),
            text_taste: normals(&mut stream("text taste", 0), half),
            image_taste: normals(&mut stream("image taste", 0), half),
            text_map: orthonormal(config.text_width, half, stream("text map", 0)),
            image_map: orthonormal(config.image_width, half, stream("image map", 0)),
        }
    }
}

/// \[rows\]\[cols\] with orthonormal columns: Gram-Schmidt on normals.
fn orthonormal(rows: usize, cols: usize, mut stream: Stream) -> Vec<Vec<f64>> {
    let mut columns: Vec<Vec<f64>> = vec![];
    while columns.len() < cols {
        let mut x = normals(&mut stream, rows);
        for done in &columns {
            let along = dot(&x, done);
            x.iter_mut().zip(done).for_each(|(x, d)| *x -= along * d);
        }
        let norm = dot(&x, &x).sqrt();
        columns.push(x.iter().map(|x| x / norm).collect());
    }
    (0..rows).map(|r| columns.iter().map(|c| c[r]).collect()).collect()
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
