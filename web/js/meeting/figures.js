// The last two minutes of the connection as series of numbers. No elements here.

/** How far back the series go; at one point a second they have 120 points. */
export const SPAN_MS = 120_000;

/** @type {{name: string, title: string, unit: "bits" | "percent" | "ms", lines: [string, string][], about: string}[]} */
export const GRAPHS = [
  {
    name: "bitrate",
    title: "Bit rate",
    unit: "bits",
    lines: [["up", "you send"], ["down", "you receive"]],
    about: "How much data flows. Pictures take most of it; it grows with the number and the size of the pictures.",
  },
  {
    name: "loss",
    title: "Loss",
    unit: "percent",
    lines: [["lossUp", "you send"], ["lossDown", "you receive"]],
    about: "The share of packets that did not arrive. Up to 2 % is mended without a trace; from 5 % on pictures freeze and sound breaks up.",
  },
  {
    name: "roundTrip",
    title: "Round trip",
    unit: "ms",
    lines: [["rtt", "to the server and back"]],
    about: "The time that a packet takes to the server and back. Below 150 ms a talk is natural; above 400 ms people interrupt each other.",
  },
];

export class History {
  /** When the points were taken, in the page's clock. */
  times = [];
  series = { up: [], down: [], lossUp: [], lossDown: [], rtt: [] };

  /** Takes the figures of one moment, as the client library's `stats()` gives them. */
  add(stats) {
    const worst = (values) => {
      const known = values.filter((value) => typeof value === "number");
      return known.length ? Math.max(...known) : null;
    };
    const point = {
      up: stats.sendBitrate,
      down: stats.receiveBitrate,
      lossUp: worst(stats.publications.flatMap(({ layers }) => layers.map(({ loss }) => loss))),
      lossDown: overall(stats.slots),
      rtt: stats.rttMs,
    };
    this.times.push(stats.at);
    for (const [name, value] of Object.entries(point)) this.series[name].push(value ?? null);
    while (this.times[0] < stats.at - SPAN_MS) {
      this.times.shift();
      for (const series of Object.values(this.series)) series.shift();
    }
  }
}

/** The loss of all slots together, weighed by their rates: a silent slot that lost its one packet does not count as all lost. */
function overall(slots) {
  const flowing = slots.filter(({ loss, bitrate }) => loss !== null && bitrate > 0);
  const total = flowing.reduce((sum, { bitrate }) => sum + bitrate, 0);
  return total > 0 ? flowing.reduce((sum, { loss, bitrate }) => sum + loss * bitrate, 0) / total : null;
}

/** A number in words that fit beside a graph. */
export function written(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "percent") return `${(value * 100).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
  if (unit === "ms" && value > 0 && value < 1) return "< 1 ms";
  if (unit === "ms") return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  if (value >= 1_000_000) return `${(value / 1_000_000).toFixed(1)} Mbit/s`;
  return `${Math.round(value / 1000)} kbit/s`;
}

/** The end of the scale: the next round number above the largest value, and never so small that noise looks like trouble. */
export function scaleEnd(values, unit) {
  const least = { percent: 0.05, ms: 100, bits: 200_000 }[unit];
  const largest = Math.max(least, ...values.filter((value) => value !== null));
  const power = 10 ** Math.floor(Math.log10(largest));
  return [1, 2, 5, 10].map((step) => step * power).find((end) => end >= largest * 0.999);
}
