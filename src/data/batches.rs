//! (batches)
