//! Cells of tables whose rows are read whole.

/// A cell of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cell {
    /// Null, or neither text nor number nor a list of them.
    #[default]
    Missing,
    Text(String),
    List(Vec<String>),
}

/// How the text of a cell lists several values, where it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Several {
    Never,
    /// `A B`, as RecBole's `token_seq`.
    Spaces,
    /// `A|B`, or `'A', 'B'`.
    Marks,
}
