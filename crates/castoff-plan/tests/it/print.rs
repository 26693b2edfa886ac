//! The other printed forms of a planned graph.

use castoff_graph::print;

use crate::build::{build, check};

fn output(form: fn(&castoff_graph::BuildGraph, &[castoff_graph::ImageOutput]) -> String) -> String {
    let plan = build("FROM scratch AS a\nCOPY x /x\nFROM scratch\nCOPY --from=a /x \"/y\\\"\"\n").plan();
    form(&plan.graph, &plan.outputs)
}

#[test]
fn dot_has_solid_edges_to_parents_and_dashed_ones_to_other_inputs() {
    check(
        &output(print::dot),
        r#"
        digraph build {
            rankdir=BT;
            node [shape=box, fontname=monospace];
            v0 [label="FROM scratch"];
            v1 [label="[internal] load build context"];
            v2 [label="[a 1/1] COPY x /x"];
            v2 -> v0;
            v2 -> v1 [style=dashed];
            v3 [label="[stage-1 1/1] COPY --from=a /x \"/y\\\"\""];
            v3 -> v0;
            v3 -> v2 [style=dashed];
            image0 [label="image linux/amd64", shape=ellipse];
            image0 -> v3;
        }
        "#,
    );
}

#[test]
fn json_is_a_document_of_vertices_and_outputs() {
    let document: serde_json::Value = serde_json::from_str(&output(print::json)).expect("JSON");
    let vertices = document["vertices"].as_array().expect("a list");
    let ops: Vec<&str> = vertices.iter().filter_map(|vertex| vertex["op"].as_str()).collect();
    assert_eq!(ops, ["scratch", "local", "copy", "copy"]);
    assert_eq!(vertices[3]["inputs"], serde_json::json!([0, 2]));
    assert_eq!(vertices[3]["origin"]["first_line"], 4);
    let output = &document["outputs"][0];
    assert_eq!(
        (&output["vertex"], &output["platform"]),
        (&serde_json::json!(3), &serde_json::json!("linux/amd64"))
    );
    assert_eq!(output["history"][0]["created_by"], "COPY /x /y\" # buildkit");
    assert_eq!(output["config"]["config"]["WorkingDir"], "/");
}
