//! The rule of WGSL's grammar that naga does not check and other compilers do (Tint): `<<`, `>>`, `&`, `|` and `^` do not mix
//! with other binary operators, nor `&&` with `||`, and comparisons do not chain, without parentheses.

/// An error shows what mixes which operators.
pub fn check(text: &str) -> Result<(), String> {
    let text: String = text.lines().map(|line| format!("{} ", line.split("//").next().unwrap_or_default())).collect();
    let mut open: Vec<Expression> = vec![Expression::default()];
    let mut before = Token::Start;
    let mut rest = text.as_str();
    while let Some(token) = next(&mut rest, before) {
        let current = open.last_mut().expect("the text itself is never closed");
        match token {
            "(" | "[" => open.push(Expression::default()),
            "{" => {
                std::mem::take(current).end()?;
                open.push(Expression::default());
            }
            ")" | "]" | "}" => {
                current.end()?;
                if open.len() > 1 {
                    open.pop();
                }
            }
            "," | ";" | "=" | ":" | "->" => std::mem::take(current).end()?,
            _ if token.ends_with('=') && !COMPARISONS.contains(&token) => std::mem::take(current).end()?,
            _ if OPERATORS.contains(&token) && before == Token::Value => current.operators.push(token.to_string()),
            _ => {}
        }
        if token == "{" || token == "}" {
            *open.last_mut().expect("as above") = Expression::default();
        }
        before = match token {
            ")" | "]" => Token::Value,
            "return" | "if" | "while" | "switch" | "case" => Token::Start,
            _ if token.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '<')
                && !OPERATORS.contains(&token) =>
            {
                Token::Value
            }
            _ => Token::Start,
        };
    }
    Ok(())
}

const COMPARISONS: [&str; 6] = ["<", ">", "<=", ">=", "==", "!="];
const OPERATORS: [&str; 18] =
    ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>", "&&", "||", "<", ">", "<=", ">=", "==", "!="];
/// What takes types in angle brackets.
const TEMPLATES: [&str; 13] = [
    "array",
    "vec2",
    "vec3",
    "vec4",
    "mat4x4",
    "ptr",
    "atomic",
    "bitcast",
    "var",
    "coop_mat8x8",
    "coop_mat16x16",
    "coopLoad",
    "coopLoadT",
];

#[derive(Clone, Copy, PartialEq)]
enum Token {
    Start,
    /// After it an operator has two operands.
    Value,
}

/// The binary operators of one expression, outside its parentheses.
#[derive(Default)]
struct Expression {
    operators: Vec<String>,
}

impl Expression {
    fn end(&self) -> Result<(), String> {
        let of = |list: &[&str]| self.operators.iter().filter(|o| list.contains(&o.as_str())).count();
        let all = self.operators.len();
        let same = self.operators.windows(2).all(|pair| pair[0] == pair[1]);
        let [shifts, bits, logic] = [of(&["<<", ">>"]), of(&["&", "|", "^"]), of(&["&&", "||"])];
        let compared = self.operators.split(|o| matches!(o.as_str(), "&&" | "||"));
        let chained =
            compared.map(|part| part.iter().filter(|o| COMPARISONS.contains(&o.as_str())).count()).any(|n| n > 1);
        let beside_shifts = all - shifts - logic - of(&COMPARISONS);
        let mixed = shifts > 0 && (beside_shifts > 0 || shifts > 1)
            || bits > 0 && (all > bits || !same)
            || logic > 0 && of(&["&&"]) > 0 && of(&["||"]) > 0
            || chained;
        if mixed { Err(format!("mixes {} without parentheses", self.operators.join(" "))) } else { Ok(()) }
    }
}

/// The next token; a template's list of types goes with its name.
fn next<'a>(rest: &mut &'a str, before: Token) -> Option<&'a str> {
    *rest = rest.trim_start();
    let first = rest.chars().next()?;
    let mut len = if first.is_alphanumeric() || first == '_' {
        let exponent = |i: usize| matches!(&rest[i - 1..i], "e" | "E") && first.is_ascii_digit();
        let part = |(i, c): (usize, char)| {
            c.is_alphanumeric() || matches!(c, '_' | '.') || i > 0 && matches!(c, '+' | '-') && exponent(i)
        };
        rest.char_indices().find(|&at| !part(at)).map_or(rest.len(), |(i, _)| i)
    } else {
        let longest = [
            "<<=", ">>=", "->", "<<", ">>", "&&", "||", "<=", ">=", "==", "!=", "+=", "-=", "*=", "/=", "%=", "&=",
            "|=",
        ];
        let long = longest.iter().find(|operator| rest.starts_with(*operator));
        long.map_or(first.len_utf8(), |operator| operator.len())
    };
    if TEMPLATES.contains(&&rest[..len]) && rest[len..].starts_with('<') && before != Token::Value {
        let mut depth = 0;
        let closes = |(_, c): &(usize, char)| {
            depth += (*c == '<') as i32 - (*c == '>') as i32;
            depth == 0
        };
        len += rest[len..].char_indices().find(closes).map_or(0, |(i, _)| i + 1);
    }
    let (token, after) = rest.split_at(len);
    *rest = after;
    Some(token)
}

/// Texts that the check accepts.
pub const GOOD: &[&str] = &[
    "let x = (a << 16u) | (a >> 16u);",
    "let x = a | b | c;",
    "let x = (a & b) == 0u && c < d;",
    "if (a & 15u) == 0u { b += 1u; }",
    "let x = a < b && c < d && (e || f);",
    "let x = 1.5e-3 + vec4<f32>(a, -b, c * -d, 1.0).x;",
    "var<storage, read> x: array<vec4<f32>>; fn f(a: ptr<function, Sum>) -> f32 { return -a * b; }",
    "let x = a << (b + 1u);",
    "for (var half = WG / 2u; half > 0u; half /= 2u) { }",
];

/// Texts that it refuses.
pub const BAD: &[&str] = &[
    "let x = a << 16u | a >> 16u;",
    "let x = a & b | c;",
    "let x = a & b == 0u;",
    "let x = a << b + 1u;",
    "let x = a >> b >> 1u;",
    "let x = f(a ^ b + 1u);",
    "let x = y[a | b & c];",
    "if a < b == c { }",
    "return a & b + c;",
];
