//! ONNX models: the graph around the trees.

use levada_connector_api::{Error, Result};

use super::onnx_graph::Graph;
use super::protobuf::{GraphInput, Operator, Tensor, fields};
use crate::model::Model;

pub(super) fn read(bytes: &[u8]) -> Result<Model> {
    let mut graph = None;
    let mut producer = String::new();
    for (field, value) in fields(bytes)? {
        match field {
            2 => producer = value.text()?,
            7 => graph = Some(value.bytes()?),
            _ => {}
        }
    }
    let graph = graph.ok_or_else(|| Error::corrupt("there is no graph: this is no ONNX model"))?;
    let (mut inputs, mut operators, mut constants) = (Vec::new(), Vec::new(), Vec::new());
    for (field, value) in fields(graph)? {
        match field {
            1 => operators.push(Operator::read(value.bytes()?)?),
            5 => constants.push(Tensor::read(value.bytes()?)?),
            11 => inputs.push(GraphInput::read(value.bytes()?)?),
            _ => {}
        }
    }
    inputs.retain(|input| constants.iter().all(|constant| constant.name != input.name));
    Graph::new(inputs, constants)?.model(&operators, &producer)
}
