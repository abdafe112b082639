//! CEL as the Kubernetes API server evaluates it: for policies and for rules in schemas.
//!
//! Expressions are parsed once and kept. Typed object literals of mutating policies
//! (`Object{spec: Object.spec{..}}`) become maps, and `variables.x` becomes a plain name, so that
//! only the variables that an expression uses are evaluated. A panic in the evaluator is an
//! error of the expression.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cel::common::ast::{EntryExpr, Expr, IdedEntryExpr, LiteralValue, MapEntryExpr, MapExpr};
use cel::extractors::This;
use cel::objects::{Key, Map};
use cel::{Context, Env, IdedExpr, Value as Cel};
use serde_json::Value;

/// An expression that cannot be parsed or evaluated; the text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CelError(String);

/// A parsed expression.
pub type Parsed = Arc<IdedExpr>;

/// What names mean in an expression.
pub type Names = Vec<(String, Cel)>;

fn env() -> Arc<Env> {
    static ENV: OnceLock<Arc<Env>> = OnceLock::new();
    let make = || {
        let mut env = Env::stdlib();
        for extension in [
            cel::extensions::strings,
            cel::extensions::lists,
            cel::extensions::math,
        ] {
            if let Err(error) = env.add_extension(extension) {
                tracing::warn!(%error, "a CEL extension is not available");
            }
        }
        Arc::new(env)
    };
    ENV.get_or_init(make).clone()
}

/// Parses an expression, or finds it among those parsed before.
pub fn parse(source: &str) -> Result<Parsed, CelError> {
    static PARSED: OnceLock<Mutex<HashMap<String, Parsed>>> = OnceLock::new();
    let parsed = PARSED.get_or_init(Mutex::default);
    if let Some(found) = parsed
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(source)
    {
        return Ok(found.clone());
    }
    let mut expr = env()
        .parser()
        .parse(source)
        .map_err(|error| CelError(format!("compilation failed: {error}")))?;
    rewrite(&mut expr);
    let expr = Arc::new(expr);
    parsed
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(source.to_owned(), expr.clone());
    Ok(expr)
}

/// The name under which `variables.x` is found.
pub fn variable_name(variable: &str) -> String {
    format!("variables__{variable}")
}

/// Evaluates a parsed expression.
pub fn evaluate(expr: &IdedExpr, names: &Names) -> Result<Cel, CelError> {
    let run = || {
        let mut context = Context::with_env(env());
        add_functions(&mut context);
        for (name, value) in names {
            context.add_variable_from_value(name.as_str(), value.clone());
        }
        context
            .resolve(expr)
            .map_err(|error| CelError(error.to_string()))
    };
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(CelError("the evaluator failed".into())))
}

fn add_functions(context: &mut Context<'_, '_>) {
    let sorted = |This(list): This<Arc<Vec<Cel>>>| list.windows(2).all(|pair| pair[0] <= pair[1]);
    // Declared anew in each context, so that it cannot be declared already.
    context.add_function("isSorted", sorted).ok();
    let join = |This(list): This<Arc<Vec<Cel>>>, between: Arc<String>| {
        let texts = list.iter().map(|item| match item {
            Cel::String(text) => text.as_str(),
            _ => "",
        });
        Arc::new(texts.collect::<Vec<_>>().join(&between))
    };
    context.add_function("join", join).ok();
    let escape = |key: Arc<String>| Arc::new(key.replace('~', "~0").replace('/', "~1"));
    context.add_function("jsonpatch.escapeKey", escape).ok();
}

/// Whether an expression uses a name.
pub fn uses(expr: &IdedExpr, name: &str) -> bool {
    let mut found = false;
    visit(&expr.expr, &mut |expr| {
        found |= matches!(expr, Expr::Ident(ident) if ident == name);
    });
    found
}

fn visit(expr: &Expr, see: &mut dyn FnMut(&Expr)) {
    see(expr);
    match expr {
        Expr::Call(call) => {
            call.target
                .iter()
                .for_each(|target| visit(&target.expr, see));
            call.args.iter().for_each(|arg| visit(&arg.expr, see));
        }
        Expr::Comprehension(c) => {
            for part in [
                &c.iter_range,
                &c.accu_init,
                &c.loop_cond,
                &c.loop_step,
                &c.result,
            ] {
                visit(&part.expr, see);
            }
        }
        Expr::List(list) => list
            .elements
            .iter()
            .for_each(|element| visit(&element.expr, see)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| visit_entry(entry, see)),
        Expr::Struct(of) => of.entries.iter().for_each(|entry| visit_entry(entry, see)),
        Expr::Select(select) => visit(&select.operand.expr, see),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn visit_entry(entry: &IdedEntryExpr, see: &mut dyn FnMut(&Expr)) {
    match &entry.expr {
        EntryExpr::MapEntry(entry) => {
            visit(&entry.key.expr, see);
            visit(&entry.value.expr, see);
        }
        EntryExpr::StructField(field) => visit(&field.value.expr, see),
    }
}

/// Makes maps of object literals and plain names of variables.
fn rewrite(expr: &mut IdedExpr) {
    if let Expr::Select(select) = &expr.expr
        && !select.test
        && matches!(&select.operand.expr, Expr::Ident(name) if name == "variables")
    {
        expr.expr = Expr::Ident(variable_name(&select.field));
        return;
    }
    if let Expr::Struct(literal) = &mut expr.expr {
        let entries = std::mem::take(&mut literal.entries);
        expr.expr = Expr::Map(MapExpr {
            entries: entries.into_iter().map(map_entry).collect(),
        });
    }
    match &mut expr.expr {
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| rewrite(target));
            call.args.iter_mut().for_each(rewrite);
        }
        Expr::Comprehension(c) => {
            for part in [
                &mut c.iter_range,
                &mut c.accu_init,
                &mut c.loop_cond,
                &mut c.loop_step,
                &mut c.result,
            ] {
                rewrite(part);
            }
        }
        Expr::List(list) => list.elements.iter_mut().for_each(rewrite),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    rewrite(&mut entry.key);
                    rewrite(&mut entry.value);
                }
            }
        }
        Expr::Select(select) => rewrite(&mut select.operand),
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn map_entry(entry: IdedEntryExpr) -> IdedEntryExpr {
    let IdedEntryExpr { id, expr } = entry;
    let expr = match expr {
        EntryExpr::StructField(field) => {
            let key = IdedExpr {
                id,
                expr: Expr::Literal(LiteralValue::String(field.field.into())),
            };
            EntryExpr::MapEntry(MapEntryExpr {
                key,
                value: field.value,
                optional: field.optional,
            })
        }
        entry @ EntryExpr::MapEntry(_) => entry,
    };
    IdedEntryExpr { id, expr }
}

/// A JSON value in CEL; whole numbers are ints.
pub fn from_json(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(bool) => Cel::Bool(*bool),
        Value::Number(number) => match number.as_i64() {
            Some(int) => Cel::Int(int),
            None => Cel::Float(number.as_f64().unwrap_or(0.0)),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(items.iter().map(from_json).collect::<Vec<_>>().into()),
        Value::Object(map) => {
            let map: HashMap<Key, Cel> = map
                .iter()
                .map(|(key, value)| (Key::String(Arc::new(key.clone())), from_json(value)))
                .collect();
            Cel::Map(Map::from(map))
        }
    }
}

/// A CEL value in JSON; null where JSON has nothing like it.
pub fn to_json(value: &Cel) -> Value {
    value.json().unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(source: &str, names: &Value) -> Result<Value, CelError> {
        let names = names
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), from_json(value)))
            .collect();
        evaluate(&*parse(source)?, &names).map(|value| to_json(&value))
    }

    #[test]
    fn what_policies_and_schemas_use_works() {
        let o = json!({"o": {"spec": {"paused": true, "steps": [1, 2]}, "metadata": {"labels": {"a/b": "x"}}}});
        for (source, want) in [
            ("o.spec.?paused.orValue(false)", json!(true)),
            ("o.spec.?gone.orValue(7)", json!(7)),
            ("o.metadata.?annotations.orValue({})", json!({})),
            ("'a/b' in o.metadata.?labels.orValue({})", json!(true)),
            (
                "o.metadata.labels.all(k, k == 'a/b' && o.metadata.labels[k] == 'x')",
                json!(true),
            ),
            (
                "o.spec.steps.isSorted() && o.spec.steps.exists_one(s, s == 2)",
                json!(true),
            ),
            ("[2, 1].isSorted()", json!(false)),
            (
                "Object{spec: Object.spec{paused: true}, ?x: o.?gone}",
                json!({"spec": {"paused": true}}),
            ),
            ("has(o.spec.gone) ? 1 : size(o.spec.steps)", json!(2)),
            ("o.spec != {'paused': false}", json!(true)),
        ] {
            assert_eq!(run(source, &o), Ok(want), "{source}");
        }
        assert!(run("o.spec.gone == 1", &o).is_err());
        assert!(parse("o.(").is_err());
    }
}
