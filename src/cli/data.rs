//! `wgrec data`
