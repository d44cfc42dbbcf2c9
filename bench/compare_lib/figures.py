"""Medians and ratios of what the rounds gave."""

from statistics import median

from .targets import PEER


class Figures:
    """All runs of one comparison. A run is a dictionary with round, measure, target, and result or error."""

    def __init__(self, runs, targets):
        self.runs = runs
        self.peers = [target.name for target in targets if target.kind == PEER]

    def by_round(self, measure, target, key=None):
        """`{round: value}` of the runs that worked."""
        key = key or measure.value
        return {
            run["round"]: run["result"][key]
            for run in self.runs
            if run["measure"] == measure.name and run["target"] == target and "result" in run
        }

    def median(self, measure, target, key=None):
        """The median over the rounds, or `None`."""
        values = self.by_round(measure, target, key).values()
        return median(values) if values else None

    def errors(self, measure, target):
        """Why runs failed."""
        return [
            run["error"]
            for run in self.runs
            if run["measure"] == measure.name and run["target"] == target and "error" in run
        ]

    def best_peer(self, measure):
        """The name of the peer with the least median, or `None`."""
        medians = {peer: self.median(measure, peer) for peer in self.peers}
        measured = {peer: value for peer, value in medians.items() if value is not None}
        return min(measured, key=measured.get) if measured else None

    def ratio_to_best_peer(self, measure):
        """The median of the rounds' ratios of wsgate to the peer with the least median."""
        return self.ratio_to(measure, self.best_peer(measure))

    def ratio_to(self, measure, target):
        """The median of the rounds' ratios of wsgate to a target."""
        return self._ratio(self.by_round(measure, "wsgate"), self.by_round(measure, target))

    @staticmethod
    def _ratio(own, other):
        ratios = [value / other[number] for number, value in own.items() if other.get(number)]
        return median(ratios) if ratios else None

    def said(self, key):
        """All values of a field that the load tool reports about itself, such as the key exchange group."""
        return sorted({str(run["result"][key]) for run in self.runs if run.get("result", {}).get(key)})


def straight_line(points):
    """The least-squares line through (x, y) as (slope, intercept, greatest deviation as a share of y)."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    intercept = mean_y - slope * mean_x
    return slope, intercept, max(abs(slope * x + intercept - y) / y for x, y in points)
