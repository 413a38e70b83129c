//! The pages as a snippet of Fastly's VCL for the subroutine `error`. At the edge is known what a fixed page cannot say: the
//! user's language, the server, and an id of the request.

use headwater_config::{Page, Part};
use std::fmt::Write;

/// The snippet. `beacon` is the beacon's URL with its source, escaped for HTML.
pub fn snippet(pages: &[Page], status: u16, beacon: &str) -> String {
    let tags = tags(pages);
    let (first, list) =
        (tags.first().and_then(|tags| tags.first()).map_or("", String::as_str), tags.concat().join(":"));
    // The pattern keeps what users send from being more than a reference where it stands in HTML and in a URL.
    let mut out = format!(
        r#"# Headwater's error pages, made by `headwater whoopsie export`: a VCL snippet of type "error".
declare local var.headwater_language STRING;
declare local var.headwater_reference STRING;
if (obj.status == {status}) {{
  set var.headwater_language = std.tolower(accept.language_lookup("{list}", "{first}", req.http.Accept-Language));
  set var.headwater_reference = if(req.http.X-Request-Id ~ "^[0-9A-Za-z._-]{{8,64}}$", req.http.X-Request-Id, req.xid);
  set obj.http.Content-Type = "text/html; charset=utf-8";
  set obj.http.Cache-Control = "no-store";
"#
    );
    let mut keyword = "if";
    for (page, tags) in pages.iter().zip(&tags).skip(1) {
        let is_asked_for: Vec<String> = tags.iter().map(|tag| format!("var.headwater_language == \"{tag}\"")).collect();
        let _ = write!(out, "  {keyword} ({}) {{\n{}  }}\n", is_asked_for.join(" || "), answer(page, status, beacon));
        keyword = "elsif";
    }
    // The first page is for all the others, and the only one where there are no others.
    match pages.first().map(|page| answer(page, status, beacon)) {
        Some(only) if pages.len() == 1 => out += &only,
        Some(first) => out += &format!("  else {{\n{first}  }}\n"),
        None => {}
    }
    out + "  return(deliver);\n}\n"
}

/// The tags that mean each page, in lower case: its own, and its language alone unless that is another page's.
fn tags(pages: &[Page]) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = pages.iter().map(|page| vec![page.language.to_ascii_lowercase()]).collect();
    for index in 0..all.len() {
        let language = all[index][0].split('-').next().unwrap_or_default().to_string();
        if !all.iter().flatten().any(|taken| *taken == language) {
            all[index].push(language);
        }
    }
    all
}

fn answer(page: &Page, status: u16, beacon: &str) -> String {
    let (mut pieces, mut text) = (Vec::new(), String::new());
    let mut put = |text: &mut String, variable: &'static str| {
        pieces.push(literal(&std::mem::take(text)));
        pieces.push(variable.into());
    };
    for part in &page.parts {
        match part {
            Part::Text(html) => text.push_str(html),
            Part::Status => text.push_str(&status.to_string()),
            Part::RequestId => put(&mut text, "var.headwater_reference"),
            Part::Beacon => {
                text.push_str(&format!("{beacon}&amp;server_identity="));
                put(&mut text, "server.identity");
                text.push_str("&amp;id=");
                put(&mut text, "var.headwater_reference");
            }
        }
    }
    pieces.push(literal(&text));
    let language = &page.language;
    format!("    set obj.http.Content-Language = \"{language}\";\n    synthetic {};\n", pieces.join(" "))
}

/// A long string, in which nothing is an escape. Its delimiter is a word that the text does not end it with.
fn literal(text: &str) -> String {
    let mut word = String::from("page");
    while text.contains(&format!("\"{word}}}")) {
        word.push('x');
    }
    format!("{{{word}\"{text}\"{word}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(language: &str) -> Page {
        let parts =
            vec![Part::Text("<p>".into()), Part::RequestId, Part::Text("\"page} ".into()), Part::Status, Part::Beacon];
        Page { language: language.into(), parts, unreferenced: Vec::new() }
    }

    #[test]
    fn what_only_the_edge_knows_stands_between_the_strings() {
        assert_eq!(
            answer(&page("en"), 503, "https://b/g?source=f_503"),
            "    set obj.http.Content-Language = \"en\";\n    synthetic {page\"<p>\"page} var.headwater_reference \
             {pagex\"\"page} 503https://b/g?source=f_503&amp;server_identity=\"pagex} server.identity \
             {page\"&amp;id=\"page} var.headwater_reference {page\"\"page};\n"
        );
    }

    #[test]
    fn a_language_alone_means_its_first_page_unless_it_has_one_of_its_own() {
        let pages = ["en", "zh-Hans", "pt-BR", "pt", "de-AT", "de-CH"].map(page);
        assert_eq!(
            tags(&pages),
            [vec!["en"], vec!["zh-hans", "zh"], vec!["pt-br"], vec!["pt"], vec!["de-at", "de"], vec!["de-ch"]]
        );
        let vcl = snippet(&pages, 503, "b");
        assert!(vcl.contains("(\"en:zh-hans:zh:pt-br:pt:de-at:de:de-ch\", \"en\", req.http.Accept-Language)"), "{vcl}");
        assert!(vcl.contains("  if (var.headwater_language == \"zh-hans\" || var.headwater_language == \"zh\") {"));
        assert!(vcl.contains("  elsif (var.headwater_language == \"pt\") {") && vcl.contains("  else {\n"));
        let one = snippet(&pages[..1], 503, "b");
        assert!(one.contains("synthetic") && !one.contains("var.headwater_language =="), "{one}");
    }
}
