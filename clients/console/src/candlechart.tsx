// The chart of candles and volumes.

import {
  CandlestickSeries,
  ColorType,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type Time,
  type UTCTimestamp,
  createChart,
} from "lightweight-charts";
import { useEffect, useRef } from "preact/hooks";
import type { Candle } from "./candles.ts";
import { clock } from "./format.ts";
import type { SymbolStore } from "./market.tsx";
import { colour, themes } from "./theme.ts";

interface Shown {
  chart: IChartApi;
  candles: ISeriesApi<"Candlestick">;
  volumes: ISeriesApi<"Histogram">;
}

/** The largest value that the chart can show. */
const VOLUME_MAX = 9e13;

const candleBar = ({ time, open, high, low, close }: Candle) => ({ time: time as UTCTimestamp, open, high, low, close });
const volumeBar = ({ time, open, close, volume }: Candle) => ({
  time: time as UTCTimestamp,
  value: Math.min(volume, VOLUME_MAX),
  color: colour(close < open ? "down-soft" : "up-soft"),
});

// The chart's own times are those of UTC.
const timeOf = (time: Time): string => clock(Number(time) * 1e6).slice(0, 8);

function make(box: HTMLElement): Shown {
  const chart = createChart(box, {
    autoSize: true,
    layout: { attributionLogo: false },
    localization: { timeFormatter: timeOf },
    timeScale: { timeVisible: true, secondsVisible: true, rightOffset: 4, tickMarkFormatter: timeOf },
    rightPriceScale: { scaleMargins: { top: 0.08, bottom: 0.25 } },
  });
  const candles = chart.addSeries(CandlestickSeries);
  const volumes = chart.addSeries(HistogramSeries, {
    priceFormat: { type: "volume" },
    priceScaleId: "volume",
    lastValueVisible: false,
    priceLineVisible: false,
  });
  chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
  return { chart, candles, volumes };
}

function paint({ chart, candles }: Shown): void {
  const line = { color: colour("line") };
  chart.applyOptions({
    layout: {
      background: { type: ColorType.Solid, color: colour("card") },
      textColor: colour("text"),
      fontFamily: "system-ui, sans-serif",
    },
    grid: { vertLines: line, horzLines: line },
    rightPriceScale: { borderColor: line.color },
    timeScale: { borderColor: line.color },
  });
  const [up, down] = [colour("up"), colour("down")];
  candles.applyOptions({
    upColor: up,
    downColor: down,
    wickUpColor: up,
    wickDownColor: down,
    borderVisible: false,
  });
}

export function CandleChart({ store }: { store: SymbolStore }) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const shown = make(element);
    /** What is drawn: the number of candles, the first of them, and the digits of prices. */
    let drawn = 0;
    let first: Candle | undefined;
    let decimals = 0;
    const describe = (): void => {
      const last = store.candles.list.at(-1);
      const text = last
        ? `open ${last.open}, high ${last.high}, low ${last.low}, last ${last.close}`
        : "no trades yet";
      element.setAttribute("aria-label", `Candles of ${store.symbol}: ${text}`);
      if (store.decimals === decimals) return;
      decimals = store.decimals;
      const priceFormat = { type: "price" as const, precision: decimals, minMove: 10 ** -decimals };
      shown.candles.applyOptions({ priceFormat });
    };
    const fill = (): void => {
      const list = store.candles.list;
      shown.candles.setData(list.map(candleBar));
      shown.volumes.setData(list.map(volumeBar));
      drawn = store.candles.list.length;
      first = list[0];
      describe();
    };
    const draw = (): void => {
      const list = store.candles.list;
      // The last drawn candle may have changed, and others may follow it.
      if (first !== list[0] || drawn === 0) return fill();
      for (const candle of list.slice(drawn - 1)) {
        shown.candles.update(candleBar(candle));
        shown.volumes.update(volumeBar(candle));
      }
      drawn = list.length;
      describe();
    };
    const repaint = (): void => {
      paint(shown);
      fill();
    };
    repaint();
    const ends = [store.watch(draw), themes.watch(repaint)];
    return () => {
      ends.forEach((end) => end());
      shown.chart.remove();
    };
  }, [store]);
  return <div class="chart" ref={box} role="img" aria-label={`Candles of ${store.symbol}`} />;
}
