//! A tree as a picture.

use std::fmt::Write as _;

use super::{question, votes};
use crate::forest::Node;
use crate::model::Model;

const WIDTH: f64 = 190.0;
const HEIGHT: f64 = 34.0;
const LEVEL: f64 = 84.0;
const GAP: f64 = 14.0;

/// A node in the picture: what it says, whether it is a leaf, its centre, its parent with the answer that leads here.
struct Placed {
    text: String,
    leaf: bool,
    x: f64,
    y: f64,
    parent: Option<(usize, bool)>,
}

/// Tree `number` as an SVG, down to `levels` levels. None: there is no such tree.
pub fn svg(model: &Model, number: usize, levels: usize) -> Option<String> {
    let tree = model.forest.trees.get(number)?;
    let mut placed: Vec<Placed> = Vec::new();
    let mut open = vec![(0u32, None, 0usize)];
    let (mut next, mut deepest) = (0.0, 0);
    while let Some((at, parent, level)) = open.pop() {
        let here = placed.len();
        deepest = deepest.max(level);
        let mut place = |text: String, leaf: bool, end: bool| {
            let x = if end { next } else { f64::NAN };
            next += if end { WIDTH + GAP } else { 0.0 };
            placed.push(Placed { text, leaf, x, y: level as f64 * LEVEL, parent });
        };
        match tree.nodes.get(at as usize)? {
            Node::Split(_) if level >= levels => place("…".into(), true, true),
            Node::Split(split) => {
                place(question(model, split.feature, &split.test), false, false);
                open.push((split.no, Some((here, false)), level + 1));
                open.push((split.yes, Some((here, true)), level + 1));
            }
            Node::Leaf(leaf) => place(votes(&model.forest, *leaf), true, true),
        }
    }
    // Nodes stand above the middle of their children, which come after them.
    let mut sums = vec![0.0; placed.len()];
    for at in (0..placed.len()).rev() {
        let half = sums.get(at).copied().unwrap_or(0.0) / 2.0;
        let node = placed.get_mut(at)?;
        if node.x.is_nan() {
            node.x = half;
        }
        let (x, parent) = (node.x, node.parent);
        if let Some(sum) = parent.and_then(|(parent, _)| sums.get_mut(parent)) {
            *sum += x;
        }
    }
    let (width, height) = (next.max(WIDTH) + GAP, deepest as f64 * LEVEL + HEIGHT + 2.0 * GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\" text-anchor=\"middle\">\n"
    );
    // Writing to a string cannot fail.
    for node in &placed {
        let (x, y) = (node.x + GAP / 2.0 + WIDTH / 2.0, node.y + GAP);
        if let Some((parent, yes)) = node.parent
            && let Some(parent) = placed.get(parent)
        {
            let (px, py) = (parent.x + GAP / 2.0 + WIDTH / 2.0, parent.y + GAP + HEIGHT);
            let answer = if yes { "yes" } else { "no" };
            let _ = writeln!(out, "<path d=\"M{px} {py}L{x} {y}\" stroke=\"#888\"/>");
            let (mx, my) = ((px + x) / 2.0, (py + y) / 2.0);
            let _ = writeln!(out, "<text x=\"{mx}\" y=\"{my}\" fill=\"#555\">{answer}</text>");
        }
        let fill = if node.leaf { "#e4f3e4" } else { "#e8eefa" };
        let (left, middle) = (x - WIDTH / 2.0, y + HEIGHT / 2.0 + 4.0);
        let _ = writeln!(
            out,
            "<rect x=\"{left}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{fill}\" stroke=\"#888\"/>\n\
             <text x=\"{x}\" y=\"{middle}\">{}</text>",
            escaped(&shortened(&node.text))
        );
    }
    out.push_str("</svg>\n");
    Some(out)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(30) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_drawn_with_names_that_are_safe() {
        let json = r#"{"learner":{"learner_model_param":{"base_score":"0","num_class":"0","num_feature":"1"},
            "feature_names":["a<b&c"],"objective":{"name":"reg:squarederror"},"gradient_booster":{"name":"gbtree","model":
            {"tree_info":[0],"trees":[{"left_children":[1,-1,-1],"right_children":[2,-1,-1],"split_conditions":[0.5,1,2],
            "split_indices":[0,0,0],"default_left":[0,0,0]}]}}}}"#;
        let model = crate::parse(json.as_bytes()).expect("a model");
        let drawing = svg(&model, 0, 9).expect("a tree");
        assert!(drawing.contains("a&lt;b&amp;c &lt; 0.5?"), "{drawing}");
        assert_eq!(drawing.matches("<rect").count(), 3);
        assert_eq!(drawing.matches("<path").count(), 2);
        assert!(svg(&model, 1, 9).is_none());
        assert_eq!(svg(&model, 0, 0).expect("a tree").matches("<rect").count(), 1, "deeper levels are left out");
    }
}
