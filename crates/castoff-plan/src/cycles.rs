//! Cycles of a directed graph (D-131).

/// Gives each vertex a number; two have the same exactly when each reaches the other. This is Tarjan's
/// algorithm, without recursion: a file may have a chain of any length.
pub(crate) fn numbers(edges: &[Vec<usize>]) -> Vec<usize> {
    const UNSEEN: usize = usize::MAX;
    let mut order = vec![UNSEEN; edges.len()];
    let mut lowest = vec![0; edges.len()];
    let mut numbers = vec![UNSEEN; edges.len()];
    let mut next = 0;
    // Vertices without a number yet, and the walk: a vertex and how many of its edges were followed.
    let mut waiting = Vec::new();
    let mut walk: Vec<(usize, usize)> = Vec::new();
    for start in 0..edges.len() {
        if order[start] == UNSEEN {
            walk.push((start, 0));
        }
        while let Some((vertex, followed)) = walk.last_mut() {
            let vertex = *vertex;
            if *followed == 0 && order[vertex] == UNSEEN {
                order[vertex] = next;
                lowest[vertex] = next;
                next += 1;
                waiting.push(vertex);
            }
            if let Some(&other) = edges[vertex].get(*followed) {
                *followed += 1;
                if order[other] == UNSEEN {
                    walk.push((other, 0));
                } else if numbers[other] == UNSEEN {
                    lowest[vertex] = lowest[vertex].min(order[other]);
                }
                continue;
            }
            walk.pop();
            if let Some((parent, _)) = walk.last() {
                lowest[*parent] = lowest[*parent].min(lowest[vertex]);
            }
            if lowest[vertex] == order[vertex] {
                while let Some(member) = waiting.pop() {
                    numbers[member] = vertex;
                    if member == vertex {
                        break;
                    }
                }
            }
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(edges: &[&[usize]], expected: &[&[usize]]) {
        let edges: Vec<Vec<usize>> = edges.iter().map(|to| to.to_vec()).collect();
        let numbers = numbers(&edges);
        for (index, number) in numbers.iter().enumerate() {
            let together: Vec<usize> =
                (0..numbers.len()).filter(|other| numbers[*other] == *number).collect();
            assert!(expected.contains(&together.as_slice()), "{index} is with {together:?}");
        }
    }

    #[test]
    fn vertices_of_one_cycle_have_one_number() {
        // D-131
        check(&[], &[]);
        check(&[&[0]], &[&[0]]);
        check(&[&[], &[0], &[1, 0]], &[&[0], &[1], &[2]]);
        check(&[&[1], &[2], &[0], &[2], &[5], &[4, 0]], &[&[0, 1, 2], &[3], &[4, 5]]);
        check(&[&[1, 3], &[2], &[1], &[0]], &[&[0, 3], &[1, 2]]);
    }
}
