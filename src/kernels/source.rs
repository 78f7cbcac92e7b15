//! Shader text: prepended constants, imports, and the way back from a line of it to the file that it came from.

use super::launch::Source;
use super::{SHADER_LIBRARY, SHADERS};

/// The text of one shader variant.
pub struct Assembled {
    pub text: String,
    /// First line (from 0) of each piece of the text, and the name of what it came from.
    pieces: Vec<(usize, String)>,
}

/// `const NAME: u32 = VALUE;` for each constant, then every library file that the shader imports, once, then the shader.
///
/// `reverse` numbers workgroups and lanes backwards (lib/index.wgsl). A software driver runs them in order, so that a
/// missing barrier goes unseen where reads come from lower lanes; run backwards it shows.
///
/// # Panics
/// If the shader, or a library file that it imports, does not exist.
pub fn assemble(source: &Source, constants: &[(&str, u32)], reverse: bool) -> Assembled {
    let (name, body) = match source {
        Source::File(stem) => (format!("shaders/{stem}.wgsl"), find(SHADERS, stem)),
        Source::Generated(text) => ("generated shader".to_string(), text.as_str()),
    };
    let mut head: String = constants.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;\n")).collect();
    head += &format!("const REVERSE: bool = {reverse};\n");

    let mut all = Assembled { text: String::new(), pieces: vec![] };
    all.push("prepended constants".to_string(), &head);
    let mut imported = vec![];
    all.import(body, &mut imported);
    all.push(name, body);
    all
}

impl Assembled {
    /// The place of line `line` (from 1) of the text: `shaders/softmax.wgsl:12`.
    pub fn locate(&self, line: usize) -> String {
        let line = line.saturating_sub(1);
        let (first, name) = self.pieces.iter().rev().find(|(first, _)| *first <= line).expect("the text has pieces");
        format!("{name}:{}", line - first + 1)
    }

    fn push(&mut self, name: String, text: &str) {
        self.pieces.push((self.text.lines().count(), name));
        self.text += text;
        if !text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn import(&mut self, body: &str, imported: &mut Vec<String>) {
        for stem in body.lines().filter_map(|line| line.strip_prefix("//!import ")).map(str::trim) {
            if !imported.iter().any(|x| x == stem) {
                imported.push(stem.to_string());
                let text = find(SHADER_LIBRARY, stem);
                self.import(text, imported);
                self.push(format!("shaders/lib/{stem}.wgsl"), text);
            }
        }
    }
}

fn find(files: &[(&str, &'static str)], stem: &str) -> &'static str {
    let found = files.iter().find(|(name, _)| *name == stem);
    found.unwrap_or_else(|| panic!("there is no shader called {stem}")).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Step;

    #[test]
    fn imports_once_and_finds_the_way_back() {
        let text = "//!import index\n//!import math\n//!import index\nfn last() {}\n";
        let all = assemble(&Source::Generated(text.into()), &[("WG", 64)], true);
        assert!(all.text.starts_with("const WG: u32 = 64u;\nconst REVERSE: bool = true;\n"));
        assert_eq!(all.text.matches("fn group_index").count(), 1);
        assert_eq!(all.locate(1), "prepended constants:1");
        assert_eq!(all.locate(3), "shaders/lib/index.wgsl:1");
        assert_eq!(all.locate(all.text.lines().count()), "generated shader:4");
    }

    #[test]
    fn the_words_of_a_step_are_those_of_its_twin() {
        let text = SHADER_LIBRARY.iter().find(|(name, _)| *name == "step").unwrap().1;
        let words = [
            ("SEED", Step::SEED),
            ("NUMBER", Step::STEP),
            ("MICRO", Step::MICRO),
            ("LR", Step::LR),
            ("CORRECTION1", Step::CORRECTION1),
            ("CORRECTION2", Step::CORRECTION2),
            ("LOSS_SCALE", Step::LOSS_SCALE),
        ];
        for (name, at) in words {
            assert!(text.contains(&format!("const STEP_{name}: u32 = {at}u;")), "{name}");
        }
    }
}
