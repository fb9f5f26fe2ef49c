// A line chart that follows its data.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { clock } from "./format.ts";
import { colour, themes } from "./theme.ts";

export interface Line {
  label: string;
  /** The name of a colour of the style sheet. */
  colour: string;
  filled?: boolean;
  stepped?: boolean;
}

interface Props {
  label: string;
  lines: Line[];
  data: uPlot.AlignedData;
  /** Whether the first row of the data is times in seconds. */
  time?: boolean;
  logarithmic?: boolean;
  value(value: number): string;
  /** The distances that labels of the values may have, if not all. */
  steps?: number[];
  height: number;
}

/** Steps of whole numbers, and of bytes. */
export const WHOLE = [1, 2, 5].flatMap((digit) => Array.from({ length: 12 }, (_, power) => digit * 10 ** power)).sort((a, b) => a - b);
export const BYTES = Array.from({ length: 48 }, (_, power) => 2 ** power);

/** Of the values of a logarithmic axis, the powers of ten. */
const powers = (_: uPlot, values: number[]): (number | null)[] =>
  values.map((value) => (Math.abs(Math.log10(value) % 1) < 1e-9 ? value : null));

/** The height of a legend. */
const LEGEND = 28;

export function Plot({ label, lines, data, time = true, logarithmic = false, value, steps, height }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const axis = () => ({
      stroke: colour("muted"),
      grid: { stroke: colour("line"), width: 1 },
      ticks: { show: false },
      font: "11px system-ui, sans-serif",
    });
    const make = (): void => {
      plot.current?.destroy();
      plot.current = new uPlot(
        {
          width: element.clientWidth,
          height,
          legend: { live: false },
          cursor: { y: false },
          scales: { x: { time }, y: { distr: logarithmic ? 3 : 1 } },
          axes: [
            { ...axis(), size: 28, space: 70, values: (_, values) => values.map(time ? (at) => clock(at * 1e6).slice(0, 8) : String) },
            {
              ...axis(),
              size: 64,
              values: (_, values) => values.map((at) => (at === null ? "" : value(at))),
              ...(steps ? { incrs: steps } : {}),
              ...(logarithmic ? { filter: powers, grid: { ...axis().grid, filter: powers } } : {}),
            },
          ],
          series: [
            {},
            ...lines.map((line) => ({
              label: line.label,
              stroke: colour(line.colour),
              width: 1.5,
              points: { show: false },
              ...(line.filled ? { fill: colour(`${line.colour}-soft`) } : {}),
              ...(line.stepped ? { paths: uPlot.paths.stepped?.({ align: 1 }) as uPlot.Series.PathBuilder } : {}),
            })),
          ],
        },
        data,
        element,
      );
    };
    make();
    const sizes = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height }));
    sizes.observe(element);
    const end = themes.watch(make);
    return () => {
      end();
      sizes.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, []);
  useEffect(() => plot.current?.setData(data), [data]);

  const last = lines.map((line, at) => {
    const newest = data[at + 1]?.at(-1);
    return `${line.label} ${newest === null || newest === undefined ? "unknown" : value(newest)}`;
  });
  // The plot is made after the first drawing, and must not move what is below it.
  const minHeight = `${height + LEGEND}px`;
  return <div class="plot" ref={box} style={{ minHeight }} role="img" aria-label={`${label}: ${last.join(", ")}`} />;
}
