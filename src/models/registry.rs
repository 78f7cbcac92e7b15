//! The models: one line each.

use super::spec::ModelSpec;
use super::{bert4rec, caser, dpcpl, ease, fmlp, gru4rec, npe, pomrec, pop, sasrec, stamp};

pub static MODELS: &[&ModelSpec] = &[
    &pomrec::SPEC,
    &dpcpl::SPEC,
    &sasrec::SPEC,
    &gru4rec::SPEC,
    &bert4rec::SPEC,
    &fmlp::SPEC,
    &stamp::SPEC,
    &caser::SPEC,
    &npe::SPEC,
    &ease::SPEC,
    &pop::SPEC,
];
