//! Paths, expressions, rewrites and redirects.

use super::*;

/// Annotations, the path, the rule's filters, and how many notes.
type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, Value, usize);

#[test]
fn annotations_become_filters_or_notes() {
    let rewritten = |what: Value| json!([{"type": "URLRewrite", "urlRewrite": what}]);
    let full = |path: &str| json!({"path": {"type": "ReplaceFullPath", "replaceFullPath": path}});
    let moved = json!([{"type": "RequestRedirect", "requestRedirect":
        {"statusCode": 301, "scheme": "https", "hostname": "new.test", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/in"}}}]);
    let table: [Row<'_>; 7] = [
        (&[("rewrite-target", "/in")], "/", rewritten(full("/in")), 0),
        (
            &[("rewrite-target", "/in"), ("upstream-vhost", "in.test")],
            "/",
            rewritten(
                json!({"hostname": "in.test", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/in"}}),
            ),
            0,
        ),
        (
            &[("rewrite-target", "/$2"), ("use-regex", "true")],
            "/api(/|$)(.*)",
            rewritten(json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}})),
            0,
        ),
        (
            &[("permanent-redirect", "https://new.test/in")],
            "/",
            moved,
            1,
        ),
        (&[("auth-realm", "shop")], "/", Value::Null, 1),
        (
            &[("proxy-read-timeout", "60"), ("affinity", "cookie")],
            "/",
            Value::Null,
            2,
        ),
        (
            &[
                ("backend-protocol", "HTTP"),
                ("service-upstream", "true"),
                ("force-ssl-redirect", "false"),
            ],
            "/",
            Value::Null,
            0,
        ),
    ];
    for (annotations, at, filters, notes) in table {
        let ingress = main(
            annotations,
            vec![path(at, "ImplementationSpecific", "shop")],
        );
        let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
        let rule = &migrated.objects[0]["spec"]["rules"][0];
        assert_eq!(rule["filters"], filters, "{annotations:?}");
        assert_eq!(
            migrated.notes.len(),
            notes,
            "{annotations:?}: {:?}",
            migrated.notes
        );
    }
}

/// Some Gateways ask whether a whole text is like an expression, Traefik whether any part of it is.
#[test]
fn expressions_mean_the_same_where_a_part_of_the_text_is_enough() {
    let mut canary = main(
        &[("canary", "true"), ("canary-by-cookie", "new")],
        vec![path("/v[0-9]+/cart", "ImplementationSpecific", "new")],
    );
    canary["metadata"]["name"] = json!("new");
    let ingress = main(
        &[("use-regex", "true")],
        vec![path("/v[0-9]+/cart", "ImplementationSpecific", "shop")],
    );
    let migrated = to_gateway(&given(ingress, vec![canary]), &public()).unwrap();
    let first = &migrated.objects[0]["spec"]["rules"][0]["matches"][0];
    let table = [
        (
            &first["headers"][0]["value"],
            "a=b; new=always; c=d",
            "renew=always",
        ),
        (&first["path"]["value"], "/V1/cart/7", "/old/v1/cart"),
    ];
    for (expression, taken, left) in table {
        let expression = expression.as_str().unwrap();
        let part = regex::Regex::new(expression).unwrap();
        let whole = regex::Regex::new(&format!("^(?:{expression})$")).unwrap();
        for like in [part, whole] {
            assert!(like.is_match(taken), "{like}");
            assert!(!like.is_match(left), "{like}");
        }
    }
}

#[test]
fn a_rewritten_path_takes_less_than_before() {
    let at = |kind| {
        let ingress = main(
            &[("rewrite-target", "/in")],
            vec![path("/old", kind, "shop")],
        );
        to_gateway(&given(ingress, vec![]), &public())
            .unwrap()
            .notes
    };
    for kind in ["Prefix", "Exact"] {
        let notes = at(kind);
        assert!(notes[0].contains("(/oldx too)"), "{kind}: {notes:?}");
        assert_eq!(notes.len(), 1, "{kind}: {notes:?}");
    }
}

/// nginx takes nothing for a group that there is not, and ingress-nginx a target that equals its path for none.
#[test]
fn a_rewrite_of_a_path_without_groups_is_one_to_a_fixed_text() {
    let table = [
        ("/", "/$2", json!("/")),
        ("/static", "/in/$1", json!("/in/")),
        ("/static", "/$1x$2", json!("/x")),
        ("/", "/", Value::Null),
        ("/static", "/static", Value::Null),
    ];
    for (at, to, wanted) in table {
        let rule = rules_of(&[("rewrite-target", to)], at, "Prefix");
        let written = &rule["filters"][0]["urlRewrite"]["path"]["replaceFullPath"];
        assert_eq!(written, &wanted, "{at} {to}");
    }
}

#[test]
fn expressions_are_told_by_what_is_written() {
    type Row<'a> = (&'a [(&'a str, &'a str)], &'a str, bool);
    let table: [Row<'_>; 4] = [
        (&[("rewrite-target", "/x")], "/api/[a-z]+", true),
        (&[("use-regex", "true")], "/api", true),
        (
            &[("use-regex", "true"), ("rewrite-target", "/$2")],
            "/api(/|$)(.*)",
            false,
        ),
        (&[], "/api", false),
    ];
    for (annotations, at, wanted) in table {
        let ingress = main(
            annotations,
            vec![path(at, "ImplementationSpecific", "shop")],
        );
        let migrated = to_gateway(&given(ingress, vec![]), &public()).unwrap();
        let mut notes = migrated.notes.iter();
        let told = notes.any(|note| note.contains("it needs regular expressions"));
        assert_eq!(told, wanted, "{annotations:?} {at}");
    }
}

#[test]
fn a_redirect_keeps_the_request_where_it_says_so_and_codes_count_beside_one() {
    let rule = |url| rules_of(&[("permanent-redirect", url)], "/", "Prefix");
    let kept = rule("https://new.test$request_uri");
    let wanted = json!({"statusCode": 301, "scheme": "https", "hostname": "new.test"});
    assert_eq!(kept["filters"][0]["requestRedirect"], wanted);
    let to = "https://new.test";
    let table = [
        (&[("permanent-redirect-code", "308")][..], 0),
        (
            &[
                ("permanent-redirect", to),
                ("permanent-redirect-code", "308"),
            ],
            1,
        ),
        (
            &[
                ("permanent-redirect", to),
                ("permanent-redirect-code", "abc"),
            ],
            0,
        ),
    ];
    for (annotations, told) in table {
        let migrated = to_gateway(&given(main(annotations, whole()), vec![]), &public()).unwrap();
        let notes = migrated.notes.iter();
        let of_it = notes.filter(|note| note.contains("permanent-redirect"));
        assert_eq!(of_it.count(), told, "{annotations:?}: {:?}", migrated.notes);
    }
}
