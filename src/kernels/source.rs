//! Shader text: prepended constants, imports, unrolled loops, and the way back from a line of it to the file that it came
//! from.

use super::launch::Source;
use super::{KERNELS, SHADER_LIBRARY};
use std::fmt::Write;

/// The text of one shader variant.
pub struct Assembled {
    pub text: String,
    /// First line (from 0) of each piece of the text, and the name of what it came from.
    pieces: Vec<(usize, String)>,
}

/// `const NAME: u32 = VALUE;` for each constant, then every library file that the shader imports, once, then the shader, all
/// with their loops `unrolled`.
///
/// `reverse` numbers workgroups and invocations backwards (lib/index.wgsl). A software driver runs them in order, so that a
/// missing barrier goes unseen where reads come from lower ones; run backwards it shows.
///
/// # Panics
/// If the shader, or a library file that it imports, does not exist, or if `//!unroll` stands before something else than the
/// loop that `unrolled` asks for.
pub fn assemble(source: &Source, constants: &[(&str, u32)], reverse: bool) -> Assembled {
    let (name, body) = match source {
        Source::File(stem) => (format!("shaders/{stem}.wgsl"), shader(stem)),
        Source::Generated(text) => ("generated shader".to_string(), text.as_str()),
    };
    // What a shader enables must come first, on the first line, so that all others keep their numbers.
    let enables = |line: &&str| line.starts_with("enable ");
    let mut head: String = body.lines().filter(enables).flat_map(|line| [line, " "]).collect();
    head.extend(constants.iter().map(|(name, value)| format!("const {name}: u32 = {value}u;\n")));
    head += &format!("const REVERSE: bool = {reverse};\n");
    let mut body = body.replace("\nenable ", "\n// enable ");
    // WGSL has no types and no arguments that depend on a constant.
    if constants.iter().any(|(name, _)| *name == "SUBGROUP") {
        body = body
            .replace(", @builtin(subgroup_id) subgroup: u32", "")
            .replace("= subgroup %", "= me.local / SUBGROUP %");
    }
    if let Some((_, size)) = constants.iter().find(|(name, _)| *name == "SIZE") {
        body = body.replace("coop_mat_SIZE", &format!("coop_mat{size}x{size}"));
    }

    let mut all = Assembled { text: String::new(), pieces: vec![] };
    all.push("prepended constants".to_string(), &head);
    let mut imported = vec![];
    all.import(&body, constants, &mut imported);
    all.push(name, &unrolled(&body, constants));
    all
}

impl Assembled {
    /// The file and line of line `line` (from 1) of the text: `shaders/softmax.wgsl:12`.
    pub fn locate(&self, line: usize) -> String {
        let line = line.saturating_sub(1);
        let (first, name) = self.pieces.iter().rev().find(|(first, _)| *first <= line).expect("the text has pieces");
        format!("{name}:{}", line - first + 1)
    }

    /// Makes the storage buffers called `names` hold f16: reads of them widen to f32, writes round. Arithmetic stays as it is.
    /// Buffers of words that are only moved (u32) hold the bits of an f32. What a shader declares as f16 stays as it is.
    pub fn halve(&mut self, names: &[String]) {
        let declared =
            |name: &&String| ["f16", "vec4<f16>"].iter().any(|t| self.text.contains(&format!("> {name}: array<{t}>")));
        let names: Vec<&String> = names.iter().filter(|name| !declared(name)).collect();
        if names.is_empty() {
            return;
        }
        let mut halves: Vec<(&str, Element)> = vec![];
        let mut text = std::mem::take(&mut self.text);
        for name in names {
            let before = halves.len();
            for element in [Element::Float, Element::Four, Element::Word] {
                let [from, to] = [element.wide(), element.half()].map(|element| format!("> {name}: array<{element}>"));
                if text.contains(&from) {
                    text = text.replacen(&from, &to, 1);
                    halves.push((name, element));
                }
            }
            // Left as it is, its halves would be read as f32.
            assert!(halves.len() > before, "{name} is not declared as `var<..> {name}: array<f32>`, vec4<f32> or u32");
        }
        // On the first line, so that all others keep their numbers.
        self.text = format!("enable f16; {}", converted(&text, &halves));
    }

    /// Ends the loops of an invocation after `turns` turns of all of them together, as some drivers do after 65,535: what
    /// launches say of their loops is tested so. Loops begin on lines of their own.
    pub fn end_loops_after(&mut self, turns: u64) {
        let line = |line: &str| {
            let start = line.trim_start();
            let counted = match (start.strip_prefix("for ("), start.strip_prefix("while ")) {
                (Some(rest), _) => rest.splitn(3, ';').collect::<Vec<_>>(),
                (_, Some(rest)) => vec!["", rest.trim_end_matches(" {"), ") {"],
                _ => return format!("{line}\n"),
            };
            let [first, condition, rest] = counted[..] else { panic!("a loop on more lines than one: {line}") };
            format!("for ({first}; another_turn() && ({condition});{rest}\n")
        };
        let count = format!(
            "var<private> turns_taken: u32;\nfn another_turn() -> bool {{\n    turns_taken += 1u;\n    return turns_taken <= {turns}u;\n}}\n"
        );
        // The copies of an unrolled body stand on one line.
        let copies = |line: &str| match line.trim_start().starts_with("} { const ") {
            true => line.replace(" for (", "\nfor ("),
            false => line.to_string(),
        };
        let text: Vec<String> = self.text.lines().map(copies).collect();
        self.text = text.join("\n").lines().map(line).chain([count]).collect();
    }

    /// Makes exp, log and sqrt as inexact as WGSL lets them be, up or down by their bits: results are right all the same.
    pub fn make_inexact(&mut self) {
        for name in ["exp(", "log(", "sqrt("] {
            let is_call = |at: usize| !self.text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let calls: Vec<usize> = self.text.match_indices(name).map(|(at, _)| at).filter(|&at| is_call(at)).collect();
            calls.iter().rev().for_each(|&at| self.text.insert_str(at, "inexact_"));
        }
        self.text += INEXACT;
    }

    fn push(&mut self, name: String, text: &str) {
        self.pieces.push((self.text.lines().count(), name));
        self.text += text;
        if !text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn import(&mut self, body: &str, constants: &[(&str, u32)], imported: &mut Vec<String>) {
        for stem in body.lines().filter_map(|line| line.strip_prefix("//!import ")).map(str::trim) {
            if !imported.iter().any(|x| x == stem) {
                imported.push(stem.to_string());
                let text = library(stem);
                self.import(text, constants, imported);
                self.push(format!("shaders/lib/{stem}.wgsl"), &unrolled(text, constants));
            }
        }
    }
}

/// The bounds of WGSL 1.0, section 15.7.4.1; sqrt(x) is 1 / inverseSqrt(x), off by 2 units and by 2.5.
const INEXACT: &str = "
fn moved(y: f32, units: f32) -> f32 {
    let bits = bitcast<u32>(y);
    let size = bits & 0x7fffffffu;
    let by = select(0u, u32(units), size > 0x01000000u && size < 0x7f000000u);
    return bitcast<f32>(select(bits - by, bits + by, (bits * 2654435769u) >= 0x80000000u));
}
fn inexact_exp(x: f32) -> f32 {
    return moved(exp(x), 3.0 + 2.0 * min(abs(x), 100.0));
}
fn inexact_log(x: f32) -> f32 {
    let y = log(x);
    return select(moved(y, 3.0), y + 4.76837158e-7, x >= 0.5 && x <= 2.0);
}
fn inexact_sqrt(x: f32) -> f32 {
    return moved(sqrt(x), 4.0);
}
";

/// `text` with each loop after a line `//!unroll` replaced by a block for each of its turns, in which the loop's variable is a
/// constant. An array that a variable indexes lies in memory, unless the driver's compiler unrolls the loop. Not all do.
/// ```wgsl
/// //!unroll
/// for (var n = 0u; n < COUNT; n++) {
///     sums[n] *= shrink;
/// }
/// ```
/// COUNT is one of `constants`. All lines keep their numbers: the blocks after the first stand on the line that closes it.
///
/// # Panics
/// If another line follows `//!unroll`, or if COUNT is 0 or none of `constants`.
fn unrolled(text: &str, constants: &[(&str, u32)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        out.extend([line, "\n"]);
        if line.trim() != "//!unroll" {
            continue;
        }
        let head = lines.next().unwrap_or_default();
        let Some((indent, name, count)) = counted(head, constants) else {
            panic!(
                "//!unroll wants `for (var n = 0u; n < COUNT; n++) {{`, COUNT a prepended constant over 0, not {head:?}"
            );
        };
        let end = format!("{indent}}}");
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != end).collect();
        out += &format!("{indent}{{ const {name} = 0u;\n");
        body.iter().for_each(|line| out.extend([line, "\n"]));
        out += &end;
        let statements: Vec<&str> = body.iter().map(|line| line.split("//").next().unwrap_or(line).trim()).collect();
        let statements = statements.join(" ");
        (1..count).for_each(|n| write!(out, " {{ const {name} = {n}u; {statements} }}").expect("a string takes all"));
        out.push('\n');
    }
    out
}

/// Indentation, variable and number of turns of a loop that begins with `head`.
fn counted<'a>(head: &'a str, constants: &[(&str, u32)]) -> Option<(&'a str, &'a str, u32)> {
    let (indent, head) = head.split_at(head.find("for (")?);
    let (name, rest) = head.strip_prefix("for (var ")?.split_once(" = 0u; ")?;
    let bound = rest.strip_prefix(name)?.strip_prefix(" < ")?.strip_suffix(&format!("; {name}++) {{"))?;
    let (_, count) = constants.iter().find(|(constant, count)| *constant == bound && *count > 0)?;
    Some((indent, name, *count))
}

/// What a shader takes the elements of a buffer for.
#[derive(Clone, Copy)]
enum Element {
    Float,
    Four,
    /// The bits of a float, which is moved.
    Word,
}

impl Element {
    fn wide(self) -> &'static str {
        match self {
            Element::Float => "f32",
            Element::Four => "vec4<f32>",
            Element::Word => "u32",
        }
    }

    fn half(self) -> &'static str {
        if matches!(self, Element::Four) { "vec4<f16>" } else { "f16" }
    }

    /// WGSL that reads the half `x`.
    fn widened(self, x: &str) -> String {
        match self {
            Element::Word => format!("bitcast<u32>(f32({x}))"),
            _ => format!("{}({x})", self.wide()),
        }
    }

    /// WGSL that makes a half of the value `x`.
    fn rounded(self, x: &str) -> String {
        match self {
            Element::Word => format!("f16(bitcast<f32>({x}))"),
            _ => format!("{}({x})", self.half()),
        }
    }
}

/// `text` with a conversion at each access to an element of `halves`.
fn converted(text: &str, halves: &[(&str, Element)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if rest.starts_with("//") {
            let (comment, after) = rest.split_at(rest.find('\n').unwrap_or(rest.len()));
            out += comment;
            rest = after;
            continue;
        }
        let half = halves.iter().find(|(name, _)| *name == &rest[..word] && rest[word..].starts_with('['));
        let Some(&(name, of)) = half else {
            let next = word.max(rest.chars().next().map_or(0, char::len_utf8));
            out += &rest[..next];
            rest = &rest[next..];
            continue;
        };
        let close = closing(&rest[word..]);
        let element = format!("{name}{}", converted(&rest[word..word + close + 1], halves));
        rest = &rest[word + close + 1..];
        let read = of.widened(&element);
        let assigned = ["= ", "+= ", "-= ", "*= "].iter().find(|sign| rest.trim_start().starts_with(*sign));
        let Some(sign) = assigned else {
            out += &read;
            continue;
        };
        let end = rest.find(';').expect("a statement ends");
        let value = converted(rest[..end].trim_start().trim_start_matches(sign), halves);
        out += &match *sign {
            "= " => format!("{element} = {}", of.rounded(&value)),
            sign => format!("{element} = {}", of.rounded(&format!("{read} {} ({value})", &sign[..1]))),
        };
        rest = &rest[end..];
    }
    out
}

/// The position of the bracket that closes the one that `text` begins with.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    let closes = |(_, c): &(usize, char)| {
        depth += (*c == '[') as i32 - (*c == ']') as i32;
        depth == 0
    };
    text.char_indices().find(closes).expect("brackets close").0
}

fn shader(stem: &str) -> &'static str {
    let of_kernel = KERNELS.iter().find(|kernel| kernel.name == stem).and_then(|kernel| kernel.shader);
    of_kernel.unwrap_or_else(|| panic!("there is no shader called {stem}"))
}

fn library(stem: &str) -> &'static str {
    let found = SHADER_LIBRARY.iter().find(|(name, _)| *name == stem);
    found.unwrap_or_else(|| panic!("there is no shaders/lib/{stem}.wgsl")).1
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
    fn loops_are_unrolled_and_lines_keep_their_numbers() {
        let text = "fn f() {\n    //!unroll\n    for (var n = 0u; n < COUNT; n++) {\n        \
                    if n > 0u { // not the first\n            sums[n] += x;\n        }\n    }\n    \
                    for (var n = 0u; n < COUNT; n++) {\n    }\n}\n";
        let all = assemble(&Source::Generated(text.into()), &[("COUNT", 3)], false);
        let block = |n: u32| format!("{{ const n = {n}u; if n > 0u {{ sums[n] += x; }} }}");
        let want = format!(
            "fn f() {{\n    //!unroll\n    {{ const n = 0u;\n        if n > 0u {{ // not the first\n            \
             sums[n] += x;\n        }}\n    }} {} {}\n    for (var n = 0u; n < COUNT; n++) {{\n    }}\n}}\n",
            block(1),
            block(2)
        );
        assert!(all.text.ends_with(&want), "{}", all.text);
        assert_eq!(all.locate(all.text.lines().count()), "generated shader:10");
    }

    #[test]
    #[should_panic(expected = "COUNT a prepended constant over 0, not \"for (var n = 0u; n < 4u; n++) {\"")]
    fn only_loops_to_a_prepended_constant_are_unrolled() {
        let text = "fn f() {\n    //!unroll\nfor (var n = 0u; n < 4u; n++) {\n}\n}\n";
        assemble(&Source::Generated(text.into()), &[("COUNT", 3)], false);
    }

    #[test]
    fn halves_are_converted_where_they_are_read_and_written() {
        let text = "@group(0) @binding(0) var<storage, read> x: array<f32>;\n\
                    @group(0) @binding(1) var<storage, read> ids: array<u32>;\n\
                    @group(0) @binding(2) var<storage, read_write> y: array<f32>; // y[i] of x[i]\n\
                    @group(0) @binding(3) var<storage, read_write> bits: array<u32>;\n\
                    @group(0) @binding(4) var<storage, read_write> four: array<vec4<f32>>;\n\
                    fn f(i: u32) {\n    four[i] = four[0] * four[1].x;\n    \
                    y[ids[i]] = max[i](x[ids[i + 1u]], 2.0 * x[i]);\n    \
                    y[i] += xx[i] * x[i];\n    \
                    if x[i] == y[i] { bits[i] = bits[0]; }\n}\n";
        let mut all = assemble(&Source::Generated(text.into()), &[], false);
        let lines = all.text.lines().count();
        all.halve(&["x".into(), "y".into(), "bits".into(), "four".into()]);
        assert_eq!(all.text.lines().count(), lines);
        assert!(all.text.starts_with("enable f16; const REVERSE"));
        let want = "var<storage, read> x: array<f16>;\n\
                    @group(0) @binding(1) var<storage, read> ids: array<u32>;\n\
                    @group(0) @binding(2) var<storage, read_write> y: array<f16>; // y[i] of x[i]\n\
                    @group(0) @binding(3) var<storage, read_write> bits: array<f16>;\n\
                    @group(0) @binding(4) var<storage, read_write> four: array<vec4<f16>>;\n\
                    fn f(i: u32) {\n    four[i] = vec4<f16>(vec4<f32>(four[0]) * vec4<f32>(four[1]).x);\n    \
                    y[ids[i]] = f16(max[i](f32(x[ids[i + 1u]]), 2.0 * f32(x[i])));\n    \
                    y[i] = f16(f32(y[i]) + (xx[i] * f32(x[i])));\n    \
                    if f32(x[i]) == f32(y[i]) { bits[i] = f16(bitcast<f32>(bitcast<u32>(f32(bits[0])))); }\n}\n";
        assert!(all.text.ends_with(want), "{}", all.text);
    }

    #[test]
    fn only_calls_of_built_in_functions_become_inexact() {
        let text = "fn f(x: f32) -> f32 { return 2.0*exp(log(x)) + exp_accurate(x) + catalog(sqrt(exp(x))); }\n";
        let mut all = assemble(&Source::Generated(text.into()), &[], false);
        all.make_inexact();
        let want =
            "return 2.0*inexact_exp(inexact_log(x)) + exp_accurate(x) + catalog(inexact_sqrt(inexact_exp(x))); }";
        assert!(all.text.contains(want), "{}", all.text);
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
        ];
        for (name, at) in words {
            assert!(text.contains(&format!("const STEP_{name}: u32 = {at}u;")), "{name}");
        }
    }
}
