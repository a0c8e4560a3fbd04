use std::collections::HashMap;
use std::sync::Arc;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::resolver::ResolverError;
use fluent_bundle::{FluentArgs, FluentError, FluentResource};
use fluent_syntax::ast::{
    Entry, Expression, Identifier, InlineExpression, NamedArgument, Pattern, PatternElement,
};
use unic_langid::{CharacterDirection, LanguageIdentifier};

use crate::TemplateError;
use crate::error::TextError;
use crate::files::File;

/// Bytes of an `Accept-Language` header that are looked at; browsers send fewer than two hundred.
const HEADER_BYTES: usize = 1024;

/// Languages of an `Accept-Language` header that are looked at.
const HEADER_RANGES: usize = 32;

/// The messages of every language.
pub(crate) struct Texts {
    /// English first, and never empty.
    languages: Vec<Language>,
    names: Vec<String>,
}

pub(crate) struct Language {
    identifier: LanguageIdentifier,
    bundle: FluentBundle<Arc<FluentResource>>,
    /// Those of the bundle, which shows no terms.
    resources: Vec<Arc<FluentResource>>,
    /// File and line of each message.
    places: HashMap<String, (String, u32)>,
}

/// What the variables of a pattern may be.
#[derive(Clone, Copy)]
enum Values<'v> {
    /// Those that the mail or page is written with.
    Ours(&'v FluentArgs<'v>),
    /// Those that the call of a term names; it sees no others, nor does a message inside of it.
    OfCall(&'v [NamedArgument<&'v str>]),
}

impl Texts {
    pub(crate) fn load(files: Vec<File>) -> Result<Self, TemplateError> {
        let mut languages: Vec<Language> = Vec::new();
        for file in files {
            let stem = file.path.strip_suffix(".ftl").unwrap_or(&file.path);
            let identifier: LanguageIdentifier =
                stem.parse().map_err(|_| TemplateError::UnknownLanguage {
                    file: file.path.clone(),
                })?;
            let known = languages
                .iter()
                .position(|language| language.identifier == identifier);
            let position = known.unwrap_or_else(|| {
                languages.push(Language::new(identifier));
                languages.len() - 1
            });
            languages[position].add(file)?;
        }
        let names = languages
            .iter()
            .map(|language| language.identifier.to_string())
            .collect();
        Ok(Self { languages, names })
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The position of a language, that of English for an unknown one.
    pub(crate) fn position(&self, name: &str) -> usize {
        self.names
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name))
            .unwrap_or(0)
    }

    /// `ltr` or `rtl`, as HTML spells them.
    pub(crate) fn direction(&self, position: usize) -> &'static str {
        match self
            .languages
            .get(position)
            .map(|it| it.identifier.character_direction())
        {
            Some(CharacterDirection::RTL) => "rtl",
            _ => "ltr",
        }
    }

    /// The message in the language, or in English where the language lacks it.
    pub(crate) fn format(
        &self,
        position: usize,
        id: &str,
        args: &FluentArgs<'_>,
    ) -> Result<String, TextError> {
        let of = |language: &'_ Language| language.format(id, args);
        self.languages
            .get(position)
            .and_then(of)
            .or_else(|| self.languages.first().and_then(of))
            .unwrap_or_else(|| Err(TextError::Missing(id.to_owned())))
    }

    /// The language that fits an `Accept-Language` header best (RFC 9110 §12.5.4).
    pub(crate) fn negotiate(&self, header: &str) -> &str {
        let header = &header[..header.floor_char_boundary(HEADER_BYTES)];
        let (mut wanted, refused): (Vec<_>, Vec<_>) = header
            .split(',')
            .take(HEADER_RANGES)
            .filter_map(weighted_range)
            // RFC 9110 §12.4.2: a weight of zero means "not acceptable".
            .partition(|(weight, _)| *weight > 0.0);
        let acceptable: Vec<&str> = self
            .names
            .iter()
            .map(String::as_str)
            .filter(|name| {
                !refused
                    .iter()
                    .any(|(_, range)| range.eq_ignore_ascii_case(name))
            })
            .collect();
        // The sort is stable: of equal weights the first named wins.
        wanted.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        wanted
            .into_iter()
            .find_map(|(_, range)| lookup(&acceptable, range))
            .or(self.names.first().map(String::as_str))
            .unwrap_or_default()
    }
}

impl Language {
    fn new(identifier: LanguageIdentifier) -> Self {
        let mut bundle = FluentBundle::new_concurrent(vec![identifier.clone()]);
        // Isolation marks around each variable would end up in copied names and addresses.
        bundle.set_use_isolating(false);
        Self {
            identifier,
            bundle,
            resources: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Later files replace messages of earlier ones.
    fn add(&mut self, file: File) -> Result<(), TemplateError> {
        let path = file.path.clone();
        let resource = Arc::new(parse(file)?);
        for (number, line) in (1..).zip(resource.source().lines()) {
            let in_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let id = &line[..line.find(|c| !in_id(c)).unwrap_or(line.len())];
            if !id.is_empty() {
                self.places.insert(id.to_owned(), (path.clone(), number));
            }
        }
        self.bundle.add_resource_overriding(Arc::clone(&resource));
        self.resources.push(resource);
        Ok(())
    }

    fn format(&self, id: &str, args: &FluentArgs<'_>) -> Option<Result<String, TextError>> {
        let pattern = self.bundle.get_message(id)?.value()?;
        let mut errors = Vec::new();
        let text = self.bundle.format_pattern(pattern, Some(args), &mut errors);
        let fault = errors
            .into_iter()
            .next()
            .or_else(|| self.hidden_fault(pattern, Values::Ours(args), &mut Vec::new()));
        let Some(source) = fault else {
            return Some(Ok(text.into_owned()));
        };
        let place = self.places.get(id).cloned();
        let (file, line) = place.map_or_else(Default::default, |(file, line)| (file, Some(line)));
        Some(Err(TextError::Format {
            message: id.to_owned(),
            file,
            line,
            source: source.into(),
        }))
    }

    /// What these values do not show and others would: a fault in another variant, here or in what this one refers to. And what fluent shows to readers
    /// without an error: a variable that a term does not get.
    fn hidden_fault<'a>(
        &'a self,
        pattern: &'a Pattern<&'a str>,
        values: Values<'a>,
        inside: &mut Vec<&'a Pattern<&'a str>>,
    ) -> Option<FluentError> {
        if inside.iter().any(|outer| std::ptr::eq(*outer, pattern)) {
            return Some(ResolverError::Cyclic.into());
        }
        inside.push(pattern);
        let fault = pattern.elements.iter().find_map(|element| match element {
            PatternElement::TextElement { .. } => None,
            PatternElement::Placeable { expression } => {
                self.fault_of_expression(expression, values, inside)
            }
        });
        inside.pop();
        fault
    }

    fn fault_of_expression<'a>(
        &'a self,
        expression: &'a Expression<&'a str>,
        values: Values<'a>,
        inside: &mut Vec<&'a Pattern<&'a str>>,
    ) -> Option<FluentError> {
        match expression {
            Expression::Inline(inline) => self.fault_of_inline(inline, values, inside),
            Expression::Select { selector, variants } => {
                let fault = match (selector, values) {
                    // How a term asks for a grammatical case; most calls leave it at the default.
                    (InlineExpression::VariableReference { .. }, Values::OfCall(_)) => None,
                    _ => self.fault_of_inline(selector, values, inside),
                };
                let mut variants = variants.iter();
                fault.or_else(|| {
                    variants.find_map(|variant| self.fault_of_part(&variant.value, values, inside))
                })
            }
        }
    }

    fn fault_of_inline<'a>(
        &'a self,
        inline: &'a InlineExpression<&'a str>,
        values: Values<'a>,
        inside: &mut Vec<&'a Pattern<&'a str>>,
    ) -> Option<FluentError> {
        let (part, values) = match inline {
            InlineExpression::StringLiteral { .. } | InlineExpression::NumberLiteral { .. } => {
                return None;
            }
            InlineExpression::Placeable { expression } => {
                return self.fault_of_expression(expression, values, inside);
            }
            InlineExpression::VariableReference { id } if values.hold(id.name) => return None,
            // There are no functions, and a choice by one would take the default without a word.
            InlineExpression::VariableReference { .. }
            | InlineExpression::FunctionReference { .. } => (None, values),
            InlineExpression::MessageReference { id, attribute } => {
                (self.message(id, attribute.as_ref()), values)
            }
            InlineExpression::TermReference {
                id,
                attribute,
                arguments,
            } => {
                let named = arguments.as_ref().map_or(&[][..], |it| &it.named);
                (self.term(id, attribute.as_ref()), Values::OfCall(named))
            }
        };
        match part {
            Some(part) => self.fault_of_part(part, values, inside),
            None => Some(ResolverError::from(inline).into()),
        }
    }

    fn fault_of_part<'a>(
        &'a self,
        part: &'a Pattern<&'a str>,
        values: Values<'a>,
        inside: &mut Vec<&'a Pattern<&'a str>>,
    ) -> Option<FluentError> {
        let mut errors = Vec::new();
        // Fluent bounds what a text may unfold to.
        if let Values::Ours(args) = values {
            self.bundle.format_pattern(part, Some(args), &mut errors);
        }
        let fault = errors.into_iter().next();
        fault.or_else(|| self.hidden_fault(part, values, inside))
    }

    fn message<'a>(
        &'a self,
        id: &Identifier<&str>,
        attribute: Option<&Identifier<&str>>,
    ) -> Option<&'a Pattern<&'a str>> {
        let message = self.bundle.get_message(id.name)?;
        match attribute {
            Some(attribute) => Some(message.get_attribute(attribute.name)?.value()),
            None => message.value(),
        }
    }

    fn term<'a>(
        &'a self,
        id: &Identifier<&str>,
        attribute: Option<&Identifier<&str>>,
    ) -> Option<&'a Pattern<&'a str>> {
        let entries = self.resources.iter().flat_map(|it| it.entries());
        let term = entries
            .filter_map(|entry| match entry {
                Entry::Term(term) if term.id.name == id.name => Some(term),
                _ => None,
            })
            .last()?;
        let Some(wanted) = attribute else {
            return Some(&term.value);
        };
        let mut attributes = term.attributes.iter();
        let found = attributes.find(|attribute| attribute.id.name == wanted.name)?;
        Some(&found.value)
    }
}

impl Values<'_> {
    fn hold(self, variable: &str) -> bool {
        match self {
            Self::Ours(args) => args.get(variable).is_some(),
            Self::OfCall(named) => named.iter().any(|it| it.name.name == variable),
        }
    }
}

/// RFC 4647 §3.4 (lookup), then any variety of the same language.
fn lookup<'a>(names: &[&'a str], range: &str) -> Option<&'a str> {
    if range == "*" {
        return names.first().copied();
    }
    let find = |tag: &str| {
        names
            .iter()
            .copied()
            .find(|name| name.eq_ignore_ascii_case(tag))
    };
    let mut tag = range;
    while !tag.is_empty() {
        if let Some(name) = find(tag) {
            return Some(name);
        }
        tag = tag.rfind('-').map_or("", |end| &tag[..end]);
    }
    let same = |name: &&&str| primary(name).eq_ignore_ascii_case(primary(range));
    names.iter().find(same).copied()
}

fn parse(file: File) -> Result<FluentResource, TemplateError> {
    FluentResource::try_new(file.text).map_err(|(resource, errors)| {
        let first = errors.into_iter().next();
        let line = first.as_ref().and_then(|error| {
            let before = resource.source().get(..error.pos.start)?;
            u32::try_from(before.matches('\n').count() + 1).ok()
        });
        TemplateError::Syntax {
            file: file.path,
            line,
            source: first.map_or_else(|| "unknown".into(), Into::into),
        }
    })
}

/// Weight and language of one part of the header; `None` if malformed.
fn weighted_range(part: &str) -> Option<(f32, &str)> {
    let mut fields = part.split(';').map(str::trim);
    let range = fields.next().filter(|range| !range.is_empty())?;
    let weight = match fields.next() {
        None => 1.0,
        Some(field) => field
            .strip_prefix("q=")
            .or(field.strip_prefix("Q="))?
            .parse()
            .ok()?,
    };
    // NaN is in no range.
    (0.0..=1.0).contains(&weight).then_some((weight, range))
}

fn primary(tag: &str) -> &str {
    tag.split('-').next().unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Texts {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Texts::load(files.iter().map(file).collect()).unwrap()
    }

    #[test]
    fn the_best_supported_language_is_picked() {
        let texts = texts(&[
            ("en.ftl", ""),
            ("de.ftl", ""),
            ("it.ftl", ""),
            ("pt-BR.ftl", ""),
        ]);
        for (header, want) in [
            ("", "en"),
            ("*", "en"),
            ("fr", "en"),
            ("de", "de"),
            ("DE-at", "de"),
            ("de-DE-u-co-phonebk", "de"),
            ("pt", "pt-BR"),
            ("pt-PT", "pt-BR"),
            ("fr, it;q=0.5, de;q=0.9", "de"),
            ("it, de", "it"),
            ("de;q=0, it;q=0.1", "it"),
            ("de;q=0", "en"),
            ("de ; q=0.1 , it;Q=0.2", "it"),
            ("de;q=NaN, it;q=2, de;q=-1, de;q=inf, de;level=1", "en"),
            ("deutsch", "en"),
            ("-, --, ;, ;;q=1, ,,, -de, *-de", "en"),
            ("../../etc/passwd", "en"),
            ("дe, de\0, {{ 7 }}", "en"),
            ("fr, *;q=0.1", "en"),
            ("en;q=0, *", "de"),
            ("en;q=0, *;q=0.5, it;q=0.6", "it"),
            ("*, EN;q=0.000, de;q=0", "it"),
            ("*;q=0", "en"),
            ("de-AT, de;q=0", "en"),
            ("it-CH, de-CH;q=0.9", "it"),
        ] {
            assert_eq!(texts.negotiate(header), want, "{header:?}");
        }
    }

    #[test]
    fn only_the_start_of_a_huge_header_is_read() {
        let texts = texts(&[("en.ftl", ""), ("de.ftl", "")]);
        for filler in ["fr,", "-", ",", ";", "é", "a-"] {
            let header = filler.repeat(2_000_000 / filler.len()) + ",de";
            assert_eq!(texts.negotiate(&header), "en", "{filler:?}");
        }
        assert_eq!(
            texts.negotiate(&("de,".to_owned() + &"é".repeat(1_000_000))),
            "de"
        );
    }

    #[test]
    fn a_message_that_a_language_lacks_comes_from_english() {
        let texts = texts(&[("en.ftl", "a = one\nb = two"), ("de.ftl", "a = eins")]);
        let args = FluentArgs::new();
        let de = texts.position("de");
        assert_eq!(texts.format(de, "a", &args).unwrap(), "eins");
        assert_eq!(texts.format(de, "b", &args).unwrap(), "two");
        assert!(matches!(texts.format(de, "c", &args), Err(TextError::Missing(id)) if id == "c"));
    }

    #[test]
    fn a_later_file_of_a_language_replaces_only_the_messages_it_holds() {
        let texts = texts(&[("en.ftl", "a = one\nb = two"), ("en.ftl", "b = TWO")]);
        assert_eq!(texts.names(), ["en"]);
        let args = FluentArgs::new();
        assert_eq!(texts.format(0, "a", &args).unwrap(), "one");
        assert_eq!(texts.format(0, "b", &args).unwrap(), "TWO");
    }

    #[test]
    fn an_unknown_variable_is_an_error_and_not_a_hole_in_the_text() {
        let texts = texts(&[("en.ftl", "a = Hello { $nobody }")]);
        let error = texts.format(0, "a", &FluentArgs::new()).unwrap_err();
        assert!(
            matches!(error, TextError::Format { message, line: Some(1), .. } if message == "a")
        );
    }

    #[test]
    fn a_fault_is_found_in_branches_that_are_not_taken() {
        let select = |variant: &str| format!("{{ $n ->\n    [one] {variant}\n   *[other] many\n}}");
        for (messages, fault) in [
            (select("{ $nobody }"), "variable: $nobody"),
            (select("{ nowhere }"), "message: nowhere"),
            (select("{ -nowhere }"), "term: -nowhere"),
            (select("{ b.nowhere }") + "\nb = b", "attribute: b.nowhere"),
            (select("{ NOWHERE($n) }"), "function: NOWHERE()"),
            (select("{ b }") + "\nb = { $nobody }", "variable: $nobody"),
            (
                format!("{{ b }}\nb = {}", select("{ $nobody }")),
                "variable: $nobody",
            ),
            (
                format!("{{ b.c }}\nb =\n    .c = {}", select("{ $nobody }")),
                "variable: $nobody",
            ),
            (
                format!("{{ {} }}", select("{ $nobody }")),
                "variable: $nobody",
            ),
            (
                select(&format!("{{ {} }}", select("{ $nobody }"))),
                "variable: $nobody",
            ),
            (
                "{ NUMBER($n) ->\n   *[other] many\n}".to_owned(),
                "function: NUMBER()",
            ),
            (
                "{ { NUMBER($n) ->\n    [one] x\n   *[other] y\n} }".to_owned(),
                "function: NUMBER()",
            ),
            (
                "{ -c }\n-c = { PLATFORM() ->\n   *[other] x\n}".to_owned(),
                "function: PLATFORM()",
            ),
            (
                "{ -c.d ->\n   *[other] x\n}\n-c = c\n    .d = { PLATFORM() ->\n   *[other] x\n}"
                    .to_owned(),
                "function: PLATFORM()",
            ),
            ("{ -c }\n-c = { $n } times".to_owned(), "variable: $n"),
            (
                "{ -c(m: 1) }\n-c = { $m } of { $n }".to_owned(),
                "variable: $n",
            ),
            (
                "{ -c(m: 1) }\n-c = { $m ->\n    [one] 1\n   *[other] { $n }\n}".to_owned(),
                "variable: $n",
            ),
            (
                select("{ -c(n: 1) }") + "\n-c = { -d }\n-d = { $n }",
                "variable: $n",
            ),
            ("{ -c }\n-c = { b }\nb = { $n }".to_owned(), "variable: $n"),
            (
                "{ -c(m: 1) }\n-c = { $m ->\n    [one] 1\n   *[other] { -c }\n}".to_owned(),
                "Cyclic",
            ),
            (
                "{ -c(m: 1) }\n-c = { $m ->\n   *[one] 1\n    [other] { -nowhere }\n}".to_owned(),
                "term: -nowhere",
            ),
            (select("{ a }"), "Cyclic"),
            (select("{ b }") + "\nb = { a }", "Cyclic"),
        ] {
            let messages = format!("a = {messages}");
            let texts = texts(&[("en.ftl", &messages)]);
            let args = FluentArgs::from_iter([("n", 24)]);
            let error = texts.format(0, "a", &args).unwrap_err();
            assert!(
                matches!(&error, TextError::Format { line: Some(1), source, .. }
                    if source.to_string().contains(fault)),
                "{messages}: {error:?}"
            );
        }
    }

    #[test]
    fn a_message_may_be_named_in_several_branches() {
        let texts = texts(&[(
            "en.ftl",
            "a = { b } { $n ->\n    [one] { b }\n   *[other] { b } { -c(case: \"x\") }\n}\nb = b\n-c = { $case ->\n    [x] X\n   *[y] Y\n}",
        )]);
        let args = FluentArgs::from_iter([("n", 24)]);
        assert_eq!(texts.format(0, "a", &args).unwrap(), "b b X");
    }

    #[test]
    fn a_term_shows_what_its_call_names_and_may_choose_by_what_it_does_not() {
        let messages = "a = { -c(case: \"x\", n: 3) } { -c(n: 2) }\n-c = { $case ->\n    [x] X\n   *[y] Y\n} { $n }";
        let texts = texts(&[("en.ftl", "-c = { $nobody }"), ("en.ftl", messages)]);
        let args = FluentArgs::new();
        assert_eq!(texts.format(0, "a", &args).unwrap(), "X 3 Y 2");
    }

    #[test]
    fn the_writing_direction_follows_the_language() {
        let texts = texts(&[("en.ftl", ""), ("ar.ftl", ""), ("he-IL.ftl", "")]);
        let directions: Vec<_> = (0..3).map(|position| texts.direction(position)).collect();
        assert_eq!(directions, ["ltr", "rtl", "rtl"]);
    }
}
