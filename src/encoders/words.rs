//! Texts that lost some of their words, as UniSRec's pre-training compares them with whole ones.

use crate::tensor::philox::Stream;
use twox_hash::XxHash3_64;

/// Words are dropped from texts at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropWords {
    /// The chance of each word, from 0 to below 1.
    pub share: f64,
    pub seed: u64,
}

impl DropWords {
    /// What is left of the text of the item called `id`, at least one word of it. Words are what stands between blanks. It depends on
    /// the seed, the id and the text, and on no other text.
    pub fn of(self, id: &str, text: &str) -> String {
        let mut stream = Stream::new(self.seed, "dropped words", XxHash3_64::oneshot(id.as_bytes()));
        let words: Vec<&str> = text.split_whitespace().collect();
        let left: Vec<&str> = words.iter().filter(|_| stream.uniform() >= self.share).copied().collect();
        match (&left[..], &words[..]) {
            ([], []) => String::new(),
            ([], _) => words[stream.below(words.len() as u32) as usize].to_string(),
            _ => left.join(" "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_words_is_lost_and_one_is_left() {
        let text = (0..4000).map(|n| format!("w{n}")).collect::<Vec<_>>().join(" \t");
        let left = DropWords { share: 0.15, seed: 1 }.of("a", &text);
        let words: Vec<&str> = left.split(' ').collect();
        assert!((3300..3500).contains(&words.len()), "{}", words.len());
        let number = |word: &str| word[1..].parse::<u32>().unwrap();
        assert!(words.windows(2).all(|two| number(two[0]) < number(two[1])), "the order is the text's");
        for (id, seed) in [("b", 1), ("a", 2)] {
            assert_ne!(DropWords { share: 0.15, seed }.of(id, &text), left);
        }
        assert_eq!(DropWords { share: 0.15, seed: 1 }.of("a", &text), left);
        assert_eq!(DropWords { share: 0.0, seed: 1 }.of("a", " one\n two "), "one two");
        for n in 0..50 {
            let one = DropWords { share: 0.999, seed: n }.of("a", "one two");
            assert!(["one", "two", "one two"].contains(&one.as_str()), "{one:?}");
        }
        assert_eq!(DropWords { share: 0.5, seed: 1 }.of("a", " "), "");
    }
}
