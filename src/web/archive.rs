//! Runs that ended: as JSON, as pages, and as a report that stands alone.
//!
//! `GET /api/history` takes `namespace`, `name`, `since` and `before` (RFC 3339) and `limit`; `GET
//! /api/runs/{run}` takes `namespace` and `name` where a run's id alone is not enough. Lists are of the daemon's
//! own environment, unless `environment` names another that shares the database, or `everywhere=true` asks for all.
//! A history that does not answer is 503, and nothing else suffers from it.
//!
//! Not here: how a run looks (`view`).

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::routes::Web;
use super::view::past::Listed;
use super::view::{frame, past, run};
use crate::causes;
use crate::history::{Error, Filter, Record, Summary, Which};

/// Runs of one answer, unless fewer are asked for.
const LIMIT: usize = 100;
/// The most that can be asked for.
const MOST: usize = 1000;

/// Which runs are asked for.
#[derive(Debug, Default, Deserialize)]
pub struct Asked {
    environment: Option<String>,
    #[serde(default)]
    everywhere: bool,
    namespace: Option<String>,
    name: Option<String>,
    since: Option<Timestamp>,
    before: Option<Timestamp>,
    limit: Option<usize>,
}

impl Asked {
    fn filter(&self, own: &str) -> Filter {
        let named = self.environment.as_deref().unwrap_or(own);
        Filter {
            environment: (!self.everywhere).then(|| named.to_owned()),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            since: self.since,
            before: self.before,
            limit: self.limit.unwrap_or(LIMIT).min(MOST),
        }
    }

    /// The query that asks for those before the oldest of the list, where there may be some.
    fn more(&self, listed: &[Summary]) -> Option<String> {
        let limit = self.limit.unwrap_or(LIMIT).min(MOST);
        let oldest = listed.last().filter(|_| listed.len() >= limit)?.ended?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (key, value) in [
            ("environment", &self.environment),
            ("namespace", &self.namespace),
            ("name", &self.name),
            ("since", &self.since.map(|since| since.to_string())),
            ("everywhere", &self.everywhere.then(|| "true".to_owned())),
        ] {
            if let Some(value) = value {
                query.append_pair(key, value);
            }
        }
        query.append_pair("before", &oldest.to_string());
        query.append_pair("limit", &limit.to_string());
        Some(query.finish())
    }

    fn which(&self, run: String, own: &str) -> Which {
        Which {
            run,
            environment: Some(self.environment.as_deref().unwrap_or(own).to_owned()),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }
}

/// The runs that ended, as JSON.
pub async fn list(State(web): State<Web>, Query(asked): Query<Asked>) -> Response {
    match web.history.list(asked.filter(&web.place.environment)).await {
        Ok(runs) => {
            Json(json!({"environment": web.place.environment, "runs": runs})).into_response()
        }
        Err(error) => failed(&error),
    }
}

/// One run, as JSON.
pub async fn one(
    State(web): State<Web>,
    Path(run): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let which = asked.which(run, &web.place.environment);
    match found(&web, which).await {
        Ok(record) => Json(record).into_response(),
        Err(response) => response,
    }
}

/// One run, as a document that needs nothing else.
pub async fn report(
    State(web): State<Web>,
    Path(run): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let which = asked.which(run, &web.place.environment);
    let record = match found(&web, which).await {
        Ok(record) => record,
        Err(response) => return response,
    };
    let file = format!(
        "attachment; filename=\"{}.html\"",
        plain(&record.summary.run)
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, file),
    ];
    (headers, run::report(&record).into_string()).into_response()
}

/// What may stand in a header.
fn plain(text: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
    text.chars().filter(plain).collect()
}

/// The page of past runs.
pub async fn past_runs(State(web): State<Web>, Query(asked): Query<Asked>) -> Response {
    let page = frame::Page {
        place: &web.place,
        title: "History",
        events: None,
    };
    let listed = match (asked.everywhere, web.history.is_shared()) {
        (true, _) => Listed::All,
        (false, true) => Listed::OneOfSeveral,
        (false, false) => Listed::One,
    };
    match web.history.list(asked.filter(&web.place.environment)).await {
        Ok(runs) => {
            let more = asked.more(&runs);
            let list = past::list(&runs, &web.place, listed, more.as_deref(), web.clock.now());
            Html(page.html(&list).into_string()).into_response()
        }
        Err(error) => failed(&error),
    }
}

/// The page of one run.
pub async fn past_run(
    State(web): State<Web>,
    Path((namespace, name, run)): Path<(String, String, String)>,
    Query(asked): Query<Asked>,
) -> Response {
    let which = Which {
        namespace: Some(namespace),
        name: Some(name),
        ..asked.which(run, &web.place.environment)
    };
    let record = match found(&web, which).await {
        Ok(record) => record,
        Err(response) => return response,
    };
    let title = format!("{}/{}", record.summary.namespace, record.summary.name);
    let page = frame::Page {
        place: &web.place,
        title: &title,
        events: None,
    };
    Html(page.html(&past::one(&record, &web.place)).into_string()).into_response()
}

async fn found(web: &Web, which: Which) -> Result<Record, Response> {
    let run = which.run.clone();
    match web.history.one(which).await {
        Ok(Some(record)) => Ok(record),
        Ok(None) => {
            let error = json!({"error": format!("no run {run} is known here; `sluice history` lists them")});
            Err((StatusCode::NOT_FOUND, Json(error)).into_response())
        }
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &Error) -> Response {
    let status = match error {
        Error::Off => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let error = json!({"error": causes::told(error)});
    (status, Json(error)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_leads_to_further_runs_of_the_same_choice() {
        let asked = Asked {
            name: Some("a b".to_owned()),
            everywhere: true,
            ..Asked::default()
        };
        let run = crate::history::samples::record("shop", "one", 0).summary;
        let runs = vec![run; MOST];
        assert_eq!(asked.more(&runs[..LIMIT - 1]), None);
        let more = asked.more(&runs[..LIMIT]);
        let wanted = "name=a+b&everywhere=true&before=2023-11-14T22%3A13%3A20Z&limit=100";
        assert_eq!(more.as_deref(), Some(wanted));
        let all = Asked {
            limit: Some(10 * MOST),
            ..Asked::default()
        };
        assert_eq!(all.filter("").limit, MOST);
    }
}
