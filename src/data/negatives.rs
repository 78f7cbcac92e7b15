//! (negatives)
