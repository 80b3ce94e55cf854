"""Helpers for scenarios, built on nothing but the machines' API.

`fleet.Fleet` is the cluster as an operator sees it (zkops, zkCli.sh, the tree);
`history.History` is every transaction ZooKeeper committed, in order.
"""
