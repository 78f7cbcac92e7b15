//! Rooms of the source: nothing imports from a higher floor, and no modules of one folder form a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms, from the ground up: each may use those before it.
const FLOORS: [&str; 25] = [
    "error", "threads", "memory", "files", "text", "settings", "tensor", "graph", "kernels", "device", "nn", "optim",
    "data", "encoders", "models", "eval", "config", "train", "look", "bench", "sweep", "serve", "cli", "main", "lib",
];

/// A module's path from the root of the crate, such as `graph`, `plan`.
type Name = Vec<String>;

struct Source {
    modules: BTreeMap<Name, String>,
}

impl Source {
    fn read() -> Source {
        let mut modules = BTreeMap::new();
        visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut modules);
        Source { modules }
    }

    /// The absolute path of `path`, which `module` names.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Name> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module, rest].concat()),
            "super" => {
                let above = module.split_last().map_or(&[][..], |(_, above)| above);
                match rest.first() {
                    Some(next) if next == "super" => self.absolute(above, rest),
                    _ => Some([above, rest].concat()),
                }
            }
            _ => Some([module, path].concat()).filter(|path| self.modules.contains_key(&path[..=module.len()])),
        }
    }

    /// The module that an absolute path leads to, through what modules export again.
    fn resolve(&self, path: &[String], depth: usize) -> Name {
        let mut at = vec![];
        for part in path {
            let inner = [&at[..], std::slice::from_ref(part)].concat();
            if self.modules.contains_key(&inner) {
                at = inner;
                continue;
            }
            let exported = self.modules.get(&at).into_iter().flat_map(|text| uses(text)).find_map(|(public, path)| {
                let named = public && path.last() == Some(part);
                self.absolute(&at, &path).filter(|path| named && depth < 8 && path[..] != inner[..])
            });
            return exported.map_or(at, |path| self.resolve(&path, depth + 1));
        }
        at
    }

    /// The modules that each module uses.
    fn edges(&self) -> BTreeSet<(Name, Name)> {
        let of = |(module, text): (&Name, &String)| -> Vec<(Name, Name)> {
            let named = uses(text).into_iter().map(|(_, path)| path).chain(inline(text));
            let absolute = named.filter_map(|path| self.absolute(module, &path));
            absolute.map(|path| (module.clone(), self.resolve(&path, 0))).collect()
        };
        self.modules.iter().flat_map(of).filter(|(from, to)| from != to).collect()
    }
}

fn visit(folder: &Path, module: &[String], modules: &mut BTreeMap<Name, String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let stem = entry.file_stem().unwrap().to_str().unwrap().to_string();
        if entry.is_dir() {
            visit(&entry, &[module, &[stem]].concat(), modules);
        } else if stem != "tests" {
            let own = if stem == "mod" { vec![] } else { vec![stem] };
            let text = fs::read_to_string(&entry).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let code: Vec<&str> = code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            modules.insert([module, &own].concat(), code.join("\n"));
        }
    }
}

/// The paths of all `use` lines, and whether others can use them from there.
fn uses(text: &str) -> Vec<(bool, Name)> {
    let mut all = vec![];
    for statement in text.split(';') {
        let Some((before, tree)) = statement.rsplit_once("use ").filter(|(before, _)| is_start(before)) else {
            continue;
        };
        let public = before.lines().last().unwrap_or_default().trim_start().starts_with("pub");
        let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
        all.extend(expand(&tree).into_iter().map(|path| (public, path)));
    }
    all
}

/// Whether a `use` can follow `before`: alone in its line, or after `pub`.
fn is_start(before: &str) -> bool {
    let line = before.rsplit('\n').next().unwrap_or_default().trim();
    line.is_empty() || line.starts_with("pub")
}

/// The paths of a tree such as `a::{b, c::{d, e as f}}`.
fn expand(tree: &str) -> Vec<Name> {
    let Some((head, rest)) = tree.split_once('{') else {
        // What a path is renamed to is its name here.
        let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
        let mut path: Name = path.split("::").map(|part| part.trim().to_string()).collect();
        path.retain(|part| !part.is_empty() && part != "*");
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        if let (false, Some(last)) = (name.is_empty(), path.last_mut()) {
            *last = name.trim().to_string();
        }
        return vec![path];
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in inner.chars() {
        depth += (c == '{') as i32 - (c == '}') as i32;
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().expect("there is one").push(c),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| expand(&format!("{head}{}", part.trim()))).collect()
}

/// Paths from `crate` or `super` within the code.
fn inline(text: &str) -> Vec<Name> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words =
        text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("crate::") || word.starts_with("super::"));
    words.map(|word| word.split("::").filter(|part| !part.is_empty()).map(String::from).collect()).collect()
}

fn shown(module: &[String]) -> String {
    module.join("::")
}

#[test]
fn nothing_imports_from_a_higher_floor() {
    let source = Source::read();
    let floor = |module: &Name| {
        let room = module.first().map_or("lib", String::as_str);
        FLOORS.iter().position(|floor| *floor == room).unwrap_or_else(|| panic!("{room} has no floor"))
    };
    source.modules.keys().for_each(|module| _ = floor(module));
    let upward = source.edges().into_iter().filter(|(from, to)| !to.is_empty() && floor(to) > floor(from));
    let upward: Vec<String> = upward.map(|(from, to)| format!("{} uses {}", shown(&from), shown(&to))).collect();
    assert!(upward.is_empty(), "imports from a higher floor:\n{}", upward.join("\n"));
}

/// Modules of a folder count with all that is in them. A folder's own file may use what is in it, and the other way round.
#[test]
fn no_modules_of_a_folder_form_a_circle() {
    let source = Source::read();
    // By folder: which of its modules uses which.
    let mut folders: BTreeMap<Name, BTreeSet<(String, String)>> = BTreeMap::new();
    for (from, to) in source.edges() {
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
            folders.entry(from[..common].to_vec()).or_default().insert((a.clone(), b.clone()));
        }
    }
    let mut circles = vec![];
    for (folder, direct) in &folders {
        let mut reached = direct.clone();
        loop {
            let further =
                reached.iter().flat_map(|(a, b)| direct.iter().filter(move |(c, _)| c == b).map(move |(_, d)| (a, d)));
            let further: Vec<_> =
                further.map(|(a, d)| (a.clone(), d.clone())).filter(|pair| !reached.contains(pair)).collect();
            if further.is_empty() {
                break;
            }
            reached.extend(further);
        }
        let back = |a: &String, b: &String| reached.contains(&(b.clone(), a.clone()));
        let within = direct.iter().filter(|(a, b)| back(a, b));
        circles.extend(within.map(|(a, b)| format!("{}: {a} uses {b}", shown(folder))));
    }
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}

#[test]
fn paths_are_read() {
    let names = |tree: &str| expand(tree).iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(
        names("crate::a::{b, c::{d, self}, e as f}"),
        ["crate::a::b", "crate::a::c::d", "crate::a::c", "crate::a::f"]
    );
    let text = "use super::x::{A,\n    B};\npub use y::*;\nfn f() { crate::z::g::<super::Q>() }\n";
    let found: Vec<_> = uses(text).iter().map(|(public, path)| (*public, path.join("::"))).collect();
    assert_eq!(found, [(false, "super::x::A".into()), (false, "super::x::B".into()), (true, "y".into())]);
    assert_eq!(
        inline(text).iter().map(|path| path.join("::")).collect::<Vec<_>>(),
        ["super::x::", "crate::z::g", "super::Q"].map(|p| p.trim_end_matches(':'))
    );
}
