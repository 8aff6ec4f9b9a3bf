//! Rewrites a template's syntax tree so that everything it makes or reads goes through the [budget](super::limits).
//!
//! The rewritten tree calls filters whose names no template can spell ("(made)" and the like). What each does is in
//! [`super::python`]; this file only decides where they go:
//!
//! * `+`, `~`, `*` become filters of our own, which measure before they make;
//! * results of filters, calls, methods, slices and literals are measured when they are made;
//! * what filters, methods and comparisons read is paid for before they read it;
//! * plain text between tags is written as an expression, so that captured text is counted like all other output.

use minijinja::machinery::Span;
use minijinja::machinery::ast::{self, BinOpKind, Expr, Spanned, Stmt};
use minijinja::value::Value;

pub(super) const MADE: &str = "(made)";
pub(super) const READ: &str = "(read)";
pub(super) const TEXT_READ: &str = "(text)";
pub(super) const RAW: &str = "(raw)";
pub(super) const ADD: &str = "(add)";
pub(super) const CONCAT: &str = "(concat)";
pub(super) const MUL: &str = "(mul)";

/// Filters that look at no more than the outside of what they get.
const CHEAP_FILTERS: &[&str] = &["length", "count", "first", "last", "default", "d", "safe"];

/// What the rewriting refuses.
pub(super) enum Refused {
    /// Tags that reach for other templates.
    OtherTemplates(&'static str),
}

type Rewritten<T> = Result<T, Refused>;

fn filter<'a>(name: &'a str, expr: Expr<'a>, args: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
    Expr::Filter(Spanned::new(
        ast::Filter {
            name,
            expr: Some(expr),
            args: args.into_iter().map(ast::CallArg::Pos).collect(),
        },
        span,
    ))
}

fn made<'a>(expr: Expr<'a>) -> Expr<'a> {
    let span = expr.span();
    filter(MADE, expr, Vec::new(), span)
}

fn read<'a>(expr: &Expr<'a>) -> Rewritten<Expr<'a>> {
    let span = expr.span();
    Ok(match expr {
        // Constants are as small as the template.
        Expr::Const(_) => rewrite(expr)?,
        _ => filter(READ, rewrite(expr)?, Vec::new(), span),
    })
}

/// Pays for text only: an index into text and a loop over text read all of it, one into a list does not.
fn text_read<'a>(expr: &Expr<'a>) -> Rewritten<Expr<'a>> {
    let span = expr.span();
    Ok(filter(TEXT_READ, rewrite(expr)?, Vec::new(), span))
}

fn all<'a>(exprs: &[Expr<'a>]) -> Rewritten<Vec<Expr<'a>>> {
    exprs.iter().map(rewrite).collect()
}

fn option<'a>(expr: Option<&Expr<'a>>) -> Rewritten<Option<Expr<'a>>> {
    expr.map(rewrite).transpose()
}

fn call_args<'a>(args: &[ast::CallArg<'a>]) -> Rewritten<Vec<ast::CallArg<'a>>> {
    args.iter()
        .map(|arg| {
            Ok(match arg {
                ast::CallArg::Pos(expr) => ast::CallArg::Pos(read(expr)?),
                ast::CallArg::Kwarg(name, expr) => ast::CallArg::Kwarg(name, read(expr)?),
                ast::CallArg::PosSplat(expr) => ast::CallArg::PosSplat(read(expr)?),
                ast::CallArg::KwargSplat(expr) => ast::CallArg::KwargSplat(read(expr)?),
            })
        })
        .collect()
}

fn call<'a>(call: &ast::Call<'a>) -> Rewritten<ast::Call<'a>> {
    let callee = match &call.expr {
        // A function: looked up by its name.
        Expr::Var(var) => Expr::Var(Spanned::new(ast::Var { id: var.id }, var.span())),
        Expr::GetAttr(attr) => Expr::GetAttr(Spanned::new(
            ast::GetAttr {
                expr: read(&attr.expr)?,
                name: attr.name,
            },
            attr.span(),
        )),
        other => rewrite(other)?,
    };
    Ok(ast::Call {
        expr: callee,
        args: call_args(&call.args)?,
    })
}

/// A filter chain; the innermost of a filter block has no input of its own.
fn filter_chain<'a>(expr: &Expr<'a>) -> Rewritten<Expr<'a>> {
    let Expr::Filter(f) = expr else {
        return rewrite(expr);
    };
    let input = match &f.expr {
        Some(input @ Expr::Filter(_)) => {
            let span = input.span();
            Some(filter(READ, filter_chain(input)?, Vec::new(), span))
        }
        Some(input) if CHEAP_FILTERS.contains(&f.name) => Some(rewrite(input)?),
        Some(input) => Some(read(input)?),
        None => None,
    };
    Ok(made(Expr::Filter(Spanned::new(
        ast::Filter {
            name: f.name,
            expr: input,
            args: call_args(&f.args)?,
        },
        f.span(),
    ))))
}

fn binary<'a>(op: &Spanned<ast::BinOp<'a>>) -> Rewritten<Expr<'a>> {
    let span = op.span();
    let arithmetic = match op.op {
        BinOpKind::Add => Some(ADD),
        BinOpKind::Concat => Some(CONCAT),
        BinOpKind::Mul => Some(MUL),
        _ => None,
    };
    if let Some(name) = arithmetic {
        return Ok(filter(
            name,
            rewrite(&op.left)?,
            vec![rewrite(&op.right)?],
            span,
        ));
    }
    let compares = matches!(
        op.op,
        BinOpKind::Eq
            | BinOpKind::Ne
            | BinOpKind::Lt
            | BinOpKind::Lte
            | BinOpKind::Gt
            | BinOpKind::Gte
            | BinOpKind::In
    );
    let (left, right) = if compares {
        (read(&op.left)?, read(&op.right)?)
    } else {
        (rewrite(&op.left)?, rewrite(&op.right)?)
    };
    Ok(Expr::BinOp(Spanned::new(
        ast::BinOp {
            op: op.op,
            left,
            right,
        },
        span,
    )))
}

fn rewrite<'a>(expr: &Expr<'a>) -> Rewritten<Expr<'a>> {
    let span = expr.span();
    Ok(match expr {
        Expr::Var(e) => Expr::Var(Spanned::new(ast::Var { id: e.id }, span)),
        Expr::Const(e) => Expr::Const(Spanned::new(
            ast::Const {
                value: e.value.clone(),
            },
            span,
        )),
        Expr::Slice(e) => made(Expr::Slice(Spanned::new(
            ast::Slice {
                expr: text_read(&e.expr)?,
                start: option(e.start.as_ref())?,
                stop: option(e.stop.as_ref())?,
                step: option(e.step.as_ref())?,
            },
            span,
        ))),
        Expr::UnaryOp(e) => Expr::UnaryOp(Spanned::new(
            ast::UnaryOp {
                op: match e.op {
                    ast::UnaryOpKind::Not => ast::UnaryOpKind::Not,
                    ast::UnaryOpKind::Neg => ast::UnaryOpKind::Neg,
                },
                expr: rewrite(&e.expr)?,
            },
            span,
        )),
        Expr::BinOp(e) => binary(e)?,
        Expr::Compare(e) => Expr::Compare(Spanned::new(
            ast::Compare {
                expr: read(&e.expr)?,
                ops: e
                    .ops
                    .iter()
                    .map(|operand| {
                        Ok(ast::CompareOp {
                            op: operand.op,
                            expr: read(&operand.expr)?,
                        })
                    })
                    .collect::<Rewritten<_>>()?,
            },
            span,
        )),
        Expr::IfExpr(e) => Expr::IfExpr(Spanned::new(
            ast::IfExpr {
                test_expr: rewrite(&e.test_expr)?,
                true_expr: rewrite(&e.true_expr)?,
                false_expr: option(e.false_expr.as_ref())?,
            },
            span,
        )),
        Expr::Filter(_) => filter_chain(expr)?,
        Expr::Test(e) => Expr::Test(Spanned::new(
            ast::Test {
                name: e.name,
                // Tests without arguments look at the kind of a value.
                expr: if e.args.is_empty() {
                    rewrite(&e.expr)?
                } else {
                    read(&e.expr)?
                },
                args: call_args(&e.args)?,
            },
            span,
        )),
        Expr::GetAttr(e) => Expr::GetAttr(Spanned::new(
            ast::GetAttr {
                expr: rewrite(&e.expr)?,
                name: e.name,
            },
            span,
        )),
        Expr::GetItem(e) => Expr::GetItem(Spanned::new(
            ast::GetItem {
                expr: text_read(&e.expr)?,
                subscript_expr: rewrite(&e.subscript_expr)?,
            },
            span,
        )),
        Expr::Call(e) => made(Expr::Call(Spanned::new(call(e)?, span))),
        Expr::List(e) => made(Expr::List(Spanned::new(
            ast::List {
                items: all(&e.items)?,
            },
            span,
        ))),
        Expr::Tuple(e) => made(Expr::Tuple(Spanned::new(
            ast::Tuple {
                items: all(&e.items)?,
            },
            span,
        ))),
        Expr::Map(e) => made(Expr::Map(Spanned::new(
            ast::Map {
                keys: all(&e.keys)?,
                values: all(&e.values)?,
            },
            span,
        ))),
    })
}

/// The left side of an assignment: names, attributes of namespaces, and tuples of them.
fn target<'a>(expr: &Expr<'a>) -> Rewritten<Expr<'a>> {
    let span = expr.span();
    Ok(match expr {
        Expr::Tuple(e) => Expr::Tuple(Spanned::new(
            ast::Tuple {
                items: targets(&e.items)?,
            },
            span,
        )),
        Expr::List(e) => Expr::List(Spanned::new(
            ast::List {
                items: targets(&e.items)?,
            },
            span,
        )),
        other => rewrite(other)?,
    })
}

fn targets<'a>(exprs: &[Expr<'a>]) -> Rewritten<Vec<Expr<'a>>> {
    exprs.iter().map(target).collect()
}

fn body<'a>(stmts: &[Stmt<'a>]) -> Rewritten<Vec<Stmt<'a>>> {
    stmts.iter().map(statement).collect()
}

fn macro_decl<'a>(decl: &ast::Macro<'a>) -> Rewritten<ast::Macro<'a>> {
    Ok(ast::Macro {
        name: decl.name,
        args: targets(&decl.args)?,
        defaults: all(&decl.defaults)?,
        body: body(&decl.body)?,
    })
}

/// Rewrites a statement and everything below it.
pub(super) fn statement<'a>(stmt: &Stmt<'a>) -> Rewritten<Stmt<'a>> {
    Ok(match stmt {
        Stmt::Template(s) => Stmt::Template(Spanned::new(
            ast::Template {
                children: body(&s.children)?,
            },
            s.span(),
        )),
        Stmt::EmitExpr(s) => Stmt::EmitExpr(Spanned::new(
            ast::EmitExpr {
                expr: rewrite(&s.expr)?,
            },
            s.span(),
        )),
        Stmt::EmitRaw(s) => {
            let text = Expr::Const(Spanned::new(
                ast::Const {
                    value: Value::from(s.raw),
                },
                s.span(),
            ));
            Stmt::EmitExpr(Spanned::new(
                ast::EmitExpr {
                    expr: filter(RAW, text, Vec::new(), s.span()),
                },
                s.span(),
            ))
        }
        Stmt::ForLoop(s) => Stmt::ForLoop(Spanned::new(
            ast::ForLoop {
                target: target(&s.target)?,
                iter: text_read(&s.iter)?,
                filter_expr: option(s.filter_expr.as_ref())?,
                recursive: s.recursive,
                body: body(&s.body)?,
                else_body: body(&s.else_body)?,
            },
            s.span(),
        )),
        Stmt::IfCond(s) => Stmt::IfCond(Spanned::new(
            ast::IfCond {
                expr: rewrite(&s.expr)?,
                true_body: body(&s.true_body)?,
                false_body: body(&s.false_body)?,
            },
            s.span(),
        )),
        Stmt::WithBlock(s) => Stmt::WithBlock(Spanned::new(
            ast::WithBlock {
                assignments: s
                    .assignments
                    .iter()
                    .map(|(name, expr)| Ok((target(name)?, rewrite(expr)?)))
                    .collect::<Rewritten<_>>()?,
                body: body(&s.body)?,
            },
            s.span(),
        )),
        Stmt::Set(s) => Stmt::Set(Spanned::new(
            ast::Set {
                target: target(&s.target)?,
                // Namespaces can be filled after they were made: what goes in is measured.
                expr: match &s.target {
                    Expr::GetAttr(_) => made(rewrite(&s.expr)?),
                    _ => rewrite(&s.expr)?,
                },
            },
            s.span(),
        )),
        Stmt::SetBlock(s) => Stmt::SetBlock(Spanned::new(
            ast::SetBlock {
                target: target(&s.target)?,
                filter: s.filter.as_ref().map(filter_chain).transpose()?,
                body: body(&s.body)?,
            },
            s.span(),
        )),
        Stmt::AutoEscape(s) => Stmt::AutoEscape(Spanned::new(
            ast::AutoEscape {
                enabled: rewrite(&s.enabled)?,
                body: body(&s.body)?,
            },
            s.span(),
        )),
        Stmt::FilterBlock(s) => Stmt::FilterBlock(Spanned::new(
            ast::FilterBlock {
                filter: filter_chain(&s.filter)?,
                body: body(&s.body)?,
            },
            s.span(),
        )),
        Stmt::Macro(s) => Stmt::Macro(Spanned::new(macro_decl(s)?, s.span())),
        Stmt::CallBlock(s) => Stmt::CallBlock(Spanned::new(
            ast::CallBlock {
                call: Spanned::new(call(&s.call)?, s.call.span()),
                macro_decl: Spanned::new(macro_decl(&s.macro_decl)?, s.macro_decl.span()),
            },
            s.span(),
        )),
        Stmt::Continue(s) => Stmt::Continue(Spanned::new(ast::Continue, s.span())),
        Stmt::Break(s) => Stmt::Break(Spanned::new(ast::Break, s.span())),
        Stmt::Do(s) => Stmt::Do(Spanned::new(
            ast::Do {
                call: Spanned::new(call(&s.call)?, s.call.span()),
            },
            s.span(),
        )),
        Stmt::Block(_) => return Err(Refused::OtherTemplates("block")),
        Stmt::Import(_) | Stmt::FromImport(_) => return Err(Refused::OtherTemplates("import")),
        Stmt::Extends(_) => return Err(Refused::OtherTemplates("extends")),
        Stmt::Include(_) => return Err(Refused::OtherTemplates("include")),
    })
}
