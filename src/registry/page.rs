//! Where a list goes on: the `Link` of a page.
//!
//! A target is resolved against what was asked, and asked for at the same registry: a proxy that ends TLS
//! writes other schemes and ports than ours. One that cannot be followed is an error: taken as the end, it
//! would cut the list short and nobody would know.
//!
//! Source: OCI Distribution Specification 1.1, "Listing Tags"; RFC 8288. Not here: asking.

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};

/// Path and query of the next page of what was `asked`; `None` at the end.
///
/// # Errors
/// Why it cannot be followed.
pub(super) fn next(headers: &HeaderMap, asked: &Url) -> Result<Option<String>, String> {
    for value in headers.get_all(LINK) {
        let link = value.to_str().map_err(|_| "a Link that is no text")?;
        if let Some(target) = target(link)? {
            return followed(target, asked).map(Some);
        }
    }
    Ok(None)
}

/// The target of the link with `rel="next"`, of those in one header.
fn target(mut links: &str) -> Result<Option<&str>, String> {
    loop {
        links = links.trim_start_matches([' ', '\t', ',']);
        if links.is_empty() {
            return Ok(None);
        }
        let whole = links.strip_prefix('<').and_then(|all| all.split_once('>'));
        let (target, rest) = whole.ok_or_else(|| format!("a Link that is none: {links:?}"))?;
        let (parameters, others) = rest.split_at(end(rest));
        if parameters.split(';').any(is_next) {
            return Ok(Some(target));
        }
        links = others;
    }
}

/// Where a link's parameters end: at a comma that is not in quotes.
fn end(rest: &str) -> usize {
    let mut quoted = false;
    let comma = rest.find(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    comma.unwrap_or(rest.len())
}

fn is_next(parameter: &str) -> bool {
    let Some((key, value)) = parameter.split_once('=') else {
        return false;
    };
    let mut words = value.trim().trim_matches('"').split_ascii_whitespace();
    key.trim().eq_ignore_ascii_case("rel") && words.any(|word| word.eq_ignore_ascii_case("next"))
}

fn followed(target: &str, asked: &Url) -> Result<String, String> {
    let url = asked.join(target);
    let url = url.map_err(|_| format!("a next page at {target:?}, which is no URL"))?;
    if !url.has_host() || url.host_str() != asked.host_str() {
        return Err(format!("a next page on another host: {target:?}"));
    }
    Ok(match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_of(link: &str) -> Result<Option<String>, String> {
        let asked = "http://r.example:5000/v2/shop/tags/list?n=2"
            .parse()
            .unwrap();
        let headers = [(LINK, link.parse().unwrap())].into_iter().collect();
        next(&headers, &asked)
    }

    #[test]
    fn a_next_page_is_followed_however_the_registry_writes_it() {
        let wanted = "/v2/shop/tags/list?n=2&last=b";
        for link in [
            "</v2/shop/tags/list?n=2&last=b>; rel=\"next\"",
            "<http://r.example:5000/v2/shop/tags/list?n=2&last=b>; rel=\"next\"",
            "<https://r.example/v2/shop/tags/list?n=2&last=b>; rel=next",
            "<?n=2&last=b>; rel=\"next\"",
            "<list?n=2&last=b>;title=\"a, b\"; REL=\"last NEXT\"",
            "</v2/>; rel=\"first\", <?n=2&last=b>; rel=\"next\"",
        ] {
            assert_eq!(next_of(link), Ok(Some(wanted.to_owned())), "{link}");
        }
    }

    #[test]
    fn only_a_list_without_a_next_page_is_at_its_end() {
        assert_eq!(next_of("</v2/>; rel=\"first\""), Ok(None));
        let asked = "http://r.example/v2/".parse().unwrap();
        assert_eq!(next(&HeaderMap::new(), &asked), Ok(None));
        for link in [
            "<https://other.example/v2/shop/tags/list?last=b>; rel=\"next\"",
            "<http://[/v2/>; rel=\"next\"",
            "<mailto:ada@r.example>; rel=\"next\"",
            "/v2/shop/tags/list?last=b; rel=\"next\"",
        ] {
            assert!(next_of(link).is_err(), "{link}");
        }
    }
}
