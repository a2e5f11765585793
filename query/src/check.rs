//! The static types of expressions and the rules between them.

use crate::ast::{BinaryOp, Expr, ExprKind, ValueType};

/// The static type of `expr`, taking for granted that it is well-typed.
pub fn value_type(expr: &Expr) -> ValueType {
    match &expr.kind {
        ExprKind::Number(_) => ValueType::Scalar,
        ExprKind::String(_) => ValueType::String,
        ExprKind::Selector(_) | ExprKind::Aggregate(_) => ValueType::InstantVector,
        ExprKind::Range(_) | ExprKind::Subquery(_) => ValueType::RangeVector,
        ExprKind::Call(call) => call.function.returns,
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => value_type(inner),
        ExprKind::Binary(binary) => match binary.op {
            BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => ValueType::InstantVector,
            _ if value_type(&binary.left) == ValueType::Scalar => value_type(&binary.right),
            _ => ValueType::InstantVector,
        },
    }
}
