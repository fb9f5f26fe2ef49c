// The screen of the market: the watch list, and of one symbol its candles, its order book and its trades.

import { useEffect, useMemo, useState } from "preact/hooks";
import type uPlot from "uplot";
import { Book, type BookData, type Level } from "./book.ts";
import { CandleChart } from "./candlechart.tsx";
import { type HistoryAnswer, ask } from "./broker.ts";
import { type Candle, Candles, PublishedCandles } from "./candles.ts";
import { type Data, type Feed, type Subscription, WebSocketFeed } from "./feed.ts";
import { clock, compact, count } from "./format.ts";
import { Store, useStore } from "./frame.ts";
import { type PublishedCandle, type Ticker, type Trade, candleOf, tickerOf, tradeOf } from "./marketdata.ts";
import { Plot } from "./plot.tsx";
import { Rows } from "./rows.tsx";

/** Prices of the watch list change at most this often. */
const WATCH_MS = 250;
/** Trades of the past that the candles begin with. */
const HISTORY = 1_000;
const TRADES_SHOWN = 60;
const LEVELS_SHOWN = 14;
/** Levels of each side in the chart of depth. */
const DEPTH_LEVELS = 60;
const DEPTH_EVERY_MS = 250;
/** Digits behind the point that the chart of candles can tell apart. */
const DECIMALS_MAX = 12;
const ROW = 28;

interface Watched extends Ticker {
  /** Whether the last change was up, down or neither. */
  moved: "up" | "down" | "";
}

/** How many messages were left out since they are not what their topics are for, in words. */
function leftOut(number: number, kind: string, topic: string): string {
  return number === 1
    ? `Left out: 1 message that is no ${kind}, in ${topic}`
    : `Left out: ${count(number)} messages that are no ${kind}s, the last one in ${topic}`;
}

/** The prices of all symbols. */
export class WatchStore extends Store {
  symbols = new Map<string, Watched>();
  /** The symbols by name. */
  order: string[] = [];
  reason = "";
  /** Whether all prices have come that there are. */
  isWhole = false;
  #leftOut = 0;

  /** Begins anew: another broker may have other symbols. */
  clear(): void {
    this.symbols.clear();
    this.order = [];
    this.reason = "";
    this.isWhole = false;
    this.#leftOut = 0;
    this.touch();
  }

  /** Removes the symbol of a topic that has ended. */
  end(topic: string): void {
    this.symbols.delete(topic.slice(topic.indexOf(".") + 1));
    this.order = [];
    this.touch();
  }

  /** What an empty list says. */
  get empty(): string {
    if (this.reason) return "";
    if (!this.isWhole) return "Waiting for prices…";
    return "No topic of ticker.* has a message yet. The screen of topics lists all others.";
  }

  take({ topic, data }: Data): void {
    const ticker = tickerOf(topic, data);
    if (!ticker) {
      this.#leftOut += 1;
      this.reason = leftOut(this.#leftOut, "ticker", topic);
      this.touch();
      return;
    }
    const before = this.symbols.get(ticker.symbol);
    const by = before ? Number(ticker.last) - Number(before.last) : 0;
    const moved = by > 0 ? "up" : by < 0 ? "down" : (before?.moved ?? "");
    this.symbols.set(ticker.symbol, { ...ticker, moved });
    if (!before) this.order = [];
    this.touch();
  }

  /** The symbol with the largest turnover; empty if there is none. */
  busiest(): string {
    const turnover = ({ last, volume }: Ticker): number => Number(last) * Number(volume);
    const all = [...this.symbols.values()].sort((a, b) => turnover(b) - turnover(a));
    return all[0]?.symbol ?? "";
  }

  sorted(): string[] {
    if (this.order.length !== this.symbols.size) this.order = [...this.symbols.keys()].sort();
    return this.order;
  }
}

/** Asks for the data of the stored messages of a topic, oldest first. */
export type History = (topic: string) => Promise<unknown[]>;

/** The stored messages as the broker gives them to a page with this token; none if it has none. */
const historyOf =
  (token: string): History =>
  async (topic) => {
    const { value } = await ask<HistoryAnswer>(`/console/history?topic=${encodeURIComponent(topic)}`, token);
    return (value?.messages ?? []).map(({ data }) => data);
  };

/** What is shown of one symbol. */
export class SymbolStore extends Store {
  readonly book = new Book();
  /** The candles that are shown: the broker's own, or those of the trades that are here if it has none. */
  candles: { readonly seconds: number; readonly list: Candle[] } = new Candles(5);
  #ofTrades = new Candles(5);
  #published: PublishedCandles | undefined;
  #candleTopic = "";
  #candleSubscription: Subscription | undefined;
  trades: Trade[] = [];
  /** Why there are no trades, or fewer than messages. */
  tradesProblem = "";
  #leftOut = 0;
  #missing = 0;
  /** The trades that candles of another length are made from. */
  #past: Trade[] = [];
  problem = "";
  /** The digits that prices have behind the point. */
  decimals = 2;
  #subscriptions: Subscription[];

  constructor(
    private readonly feed: Feed,
    readonly symbol: string,
    private readonly history: History,
  ) {
    super();
    const topic = `book.${symbol}`;
    this.#subscriptions = [
      feed.subscribe(
        topic,
        {},
        {
          reset: () => this.book.reset(),
          data: (message) => {
            const agrees = this.book.apply(message.data as BookData, message.op === "snapshot");
            this.problem = agrees ? "" : "the book disagreed with its checksum and was asked for again";
            if (!agrees) feed.resync(topic);
            this.touch();
          },
          gap: () => this.book.reset(),
          end: ({ reason }) => {
            this.book.reset();
            this.problem = `the book has ended (${reason})`;
            this.touch();
          },
          joined: () => {
            this.book.reset();
            this.problem = "";
            this.touch();
          },
          status: ({ state, reason }) => {
            this.problem = state === "live" ? "" : `the book cannot be relied on: ${reason ?? "its source is silent"}`;
            this.touch();
          },
          refused: (reason) => {
            this.problem = reason;
            this.touch();
          },
        },
      ),
      feed.subscribe(
        `trade.${symbol}`,
        { history: HISTORY },
        {
          reset: () => {
            this.#past = [];
            this.trades = [];
            this.tradesProblem = "";
            this.#leftOut = 0;
            this.#missing = 0;
            this.#ofTrades = new Candles(this.candles.seconds);
            this.#show();
          },
          data: (message) => this.#take(message),
          gap: ({ from, to }) => {
            this.#missing += to - from + 1;
            this.tradesProblem = `${count(this.#missing)} trades are missing`;
            this.touch();
          },
          // The trades that are shown were made, whatever becomes of the topic.
          end: ({ reason }) => {
            this.tradesProblem = `the trades have ended (${reason})`;
            this.touch();
          },
          joined: () => {
            this.tradesProblem = "";
            this.touch();
          },
          refused: (reason) => {
            this.tradesProblem = reason;
            this.touch();
          },
        },
      ),
    ];
    this.#followCandles();
  }

  /** Follows the broker's candles, and asks for those from before. Candles of 5 s are made of those of 1 s. */
  #followCandles(): void {
    const { seconds } = this.candles;
    const topic = `candle.${seconds < 60 ? "1s" : "1m"}.${this.symbol}`;
    this.#published = undefined;
    this.#show();
    if (topic === this.#candleTopic) {
      void this.#fetchCandles(topic);
      return;
    }
    this.#candleTopic = topic;
    this.#candleSubscription?.close();
    this.#candleSubscription = this.feed.subscribe(
      topic,
      { every: true },
      {
        reset: () => {
          this.#published = undefined;
          this.#show();
        },
        // A topic that the broker refuses, because it cannot exist, is not asked for.
        synced: () => void this.#fetchCandles(topic),
        data: ({ data }) => this.#takeCandles([data]),
        // What a gap names is stored, as far as it was closed.
        gap: () => void this.#fetchCandles(topic),
      },
    );
  }

  async #fetchCandles(topic: string): Promise<void> {
    const messages = await this.history(topic);
    // Another length, or another symbol, may have been chosen meanwhile.
    if (topic === this.#candleTopic) this.#takeCandles(messages);
  }

  #takeCandles(messages: unknown[]): void {
    const candles = messages.map(candleOf).filter((candle): candle is PublishedCandle => candle !== undefined);
    if (candles.length === 0) return;
    this.#published ??= new PublishedCandles(this.candles.seconds);
    this.#published.add(candles);
    const digits = candles.at(-1)?.close.split(".")[1]?.length ?? 0;
    this.decimals = Math.min(DECIMALS_MAX, Math.max(this.decimals, digits));
    this.#show();
  }

  #show(): void {
    this.candles = this.#published ?? this.#ofTrades;
    this.touch();
  }

  #take({ topic, data }: Data): void {
    this.touch();
    const trade = tradeOf(data);
    if (!trade) {
      this.#leftOut += 1;
      this.tradesProblem = leftOut(this.#leftOut, "trade", topic);
      return;
    }
    this.decimals = Math.min(DECIMALS_MAX, Math.max(this.decimals, trade.price.split(".")[1]?.length ?? 0));
    this.#past.push(trade);
    if (this.#past.length > 20 * HISTORY) this.#past.splice(0, HISTORY);
    this.trades = this.#past.slice(-TRADES_SHOWN);
    this.#ofTrades.add(trade);
  }

  /** Shows candles of this length. */
  setSeconds(seconds: number): void {
    this.#ofTrades = new Candles(seconds);
    for (const trade of this.#past) this.#ofTrades.add(trade);
    this.candles = this.#ofTrades;
    this.#followCandles();
  }

  close(): void {
    this.#candleTopic = "";
    this.#candleSubscription?.close();
    for (const subscription of this.#subscriptions) subscription.close();
  }
}

export function Market({ token, symbol }: { token: string; symbol: string }) {
  const watch = useMemo(() => new WatchStore(), []);
  const status = useMemo(() => new Store(), []);
  const feed = useMemo(() => new WebSocketFeed(token, () => status.touch()), []);
  const [chosen, setChosen] = useState(symbol);
  const [store, setStore] = useState<SymbolStore>();
  useStore(status);

  useEffect(() => {
    feed.subscribe(
      "ticker.*",
      { conflateMs: WATCH_MS },
      {
        reset: () => watch.clear(),
        data: (message) => watch.take(message),
        end: ({ topic }) => watch.end(topic),
        // The symbol with the largest turnover is shown until another one is chosen.
        synced: () => {
          watch.isWhole = true;
          watch.touch();
          setChosen((old) => old || watch.busiest());
        },
        refused: (reason) => {
          watch.reason = reason;
          watch.touch();
        },
      },
    );
    return () => feed.close();
  }, []);
  useEffect(() => {
    if (symbol) setChosen(symbol);
  }, [symbol]);
  useEffect(() => {
    if (!chosen) return undefined;
    const made = new SymbolStore(feed, chosen, historyOf(token));
    setStore(made);
    return () => made.close();
  }, [chosen]);

  return (
    <>
      {feed.status.state === "lost" && (
        <p class="notice" role="status">
          Disconnected: {feed.status.reason}.
        </p>
      )}
      <div class="market">
        <WatchList store={watch} chosen={chosen} />
        {store && <SymbolView key={store.symbol} store={store} watch={watch} />}
      </div>
    </>
  );
}

function WatchList({ store, chosen }: { store: WatchStore; chosen: string }) {
  useStore(store);
  const [filter, setFilter] = useState("");
  // Prices that come one after the other would move the rows of those before them.
  const all = store.isWhole ? store.sorted() : [];
  const wanted = filter.toUpperCase();
  const symbols = wanted ? all.filter((name) => name.includes(wanted)) : all;
  return (
    <section class="watch" aria-labelledby="watch-title">
      <h2 id="watch-title">Watch list</h2>
      <div class="bar">
        <label>
          Find
          <input value={filter} spellcheck={false} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
      </div>
      {store.reason && <p class="notice">{store.reason}</p>}
      <Rows
        label="Symbols"
        minWidth="16rem"
        rowHeight={ROW}
        total={symbols.length}
        columns={[
          { name: "Symbol" },
          { name: "Last", width: "6.2rem", number: true },
          { name: "Change", width: "5.4rem", number: true },
        ]}
        row={(at, tabIndex) => {
          const symbol = store.symbols.get(symbols[at] ?? "");
          if (!symbol) return undefined;
          const change = Number(symbol.change_pct);
          return {
            key: symbol.symbol,
            selected: symbol.symbol === chosen,
            cells: [
              <a
                href={`#market/${symbol.symbol}`}
                tabIndex={tabIndex}
                aria-current={symbol.symbol === chosen ? "true" : undefined}
              >
                {symbol.symbol}
              </a>,
              <span class={symbol.moved}>{symbol.last}</span>,
              <span class={change < 0 ? "down" : change > 0 ? "up" : ""}>
                {change > 0 ? "+" : ""}
                {symbol.change_pct} %
              </span>,
            ],
          };
        }}
        empty={all.length > 0 ? "No symbol has that in its name." : store.empty}
      />
    </section>
  );
}

const LENGTHS: [seconds: number, name: string][] = [
  [1, "1 s"],
  [5, "5 s"],
  [60, "1 min"],
];

function SymbolView({ store, watch }: { store: SymbolStore; watch: WatchStore }) {
  const [seconds, setSeconds] = useState(store.candles.seconds);
  return (
    <>
      <section class="candles" aria-labelledby="candles-title">
        <h2 id="candles-title">
          <Quote symbol={store.symbol} watch={watch} />
        </h2>
        <div class="bar" role="group" aria-label="Length of a candle">
          {LENGTHS.map(([length, name]) => (
            <button
              key={length}
              type="button"
              aria-pressed={length === seconds}
              onClick={() => {
                setSeconds(length);
                store.setSeconds(length);
              }}
            >
              {name}
            </button>
          ))}
        </div>
        <CandleChart store={store} />
      </section>
      <Depth store={store} />
      <Ladder store={store} />
      <Tape store={store} />
    </>
  );
}

function Quote({ symbol, watch }: { symbol: string; watch: WatchStore }) {
  useStore(watch);
  const quote = watch.symbols.get(symbol);
  return (
    <>
      {symbol}
      {quote && (
        <span class="quote">
          <span class={quote.moved}>{quote.last}</span> bid {quote.bid} · ask {quote.ask} · volume{" "}
          {compact(Number(quote.volume))}
        </span>
      )}
    </>
  );
}

/** The rows of the chart of depth: prices, and the sizes up to each on both sides. */
function depthOf(book: Book): uPlot.AlignedData {
  const side = (levels: Level[]): [number, number][] => {
    let sum = 0;
    return levels.slice(0, DEPTH_LEVELS).map(([price, size]) => [Number(price), (sum += Number(size))]);
  };
  const bids = side(book.bids.levels).reverse();
  const asks = side(book.asks.levels);
  return [
    [...bids, ...asks].map(([price]) => price),
    [...bids.map(([, sum]) => sum), ...asks.map(() => null)],
    [...bids.map(() => null), ...asks.map(([, sum]) => sum)],
  ];
}

function Depth({ store }: { store: SymbolStore }) {
  const [data, setData] = useState(() => depthOf(store.book));
  useEffect(() => {
    // A chart of depth that changes with each message cannot be read.
    const timer = setInterval(() => setData(depthOf(store.book)), DEPTH_EVERY_MS);
    return () => clearInterval(timer);
  }, [store]);
  return (
    <section class="depth" aria-labelledby="depth-title">
      <h2 id="depth-title">Depth</h2>
      <Plot
        label={`Depth of ${store.symbol}`}
        lines={[
          { label: "Bids", colour: "up", filled: true, stepped: true },
          { label: "Asks", colour: "down", filled: true, stepped: true },
        ]}
        data={data}
        time={false}
        value={compact}
        height={200}
      />
    </section>
  );
}

function Ladder({ store }: { store: SymbolStore }) {
  useStore(store);
  const asks = store.book.asks.levels.slice(0, LEVELS_SHOWN);
  const bids = store.book.bids.levels.slice(0, LEVELS_SHOWN);
  const most = Math.max(...[...asks, ...bids].map(([, size]) => Number(size)), 0);
  const [ask, bid] = [asks[0], bids[0]];
  const decimals = (bid?.[0] ?? "").split(".")[1]?.length ?? 0;
  const spread = ask && bid ? (Number(ask[0]) - Number(bid[0])).toFixed(Math.max(decimals, 2)) : "–";
  const level = (side: "ask" | "bid") => ([price, size]: Level) => (
    <tr key={`${side}${price}`} class={side}>
      <td class="number price">{price}</td>
      <td class="number">
        {size}
        <meter aria-hidden="true" min={0} max={most || 1} value={Number(size)} />
      </td>
    </tr>
  );
  return (
    <section class="ladder" aria-labelledby="ladder-title">
      <h2 id="ladder-title">Order book</h2>
      {store.problem && <p class="notice">{store.problem}</p>}
      <div class="scroll" tabIndex={0} role="region" aria-label={`Order book of ${store.symbol}`}>
        <table>
          <thead>
            <tr>
              <th scope="col" class="number">
                Price
              </th>
              <th scope="col" class="number">
                Size
              </th>
            </tr>
          </thead>
          <tbody>
            {asks.reverse().map(level("ask"))}
            <tr class="spread">
              <td colSpan={2}>spread {spread}</td>
            </tr>
            {bids.map(level("bid"))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Tape({ store }: { store: SymbolStore }) {
  useStore(store);
  const trades = store.trades;
  return (
    <section class="tape" aria-labelledby="tape-title">
      <h2 id="tape-title">Trades</h2>
      {store.tradesProblem && <p class="notice">{store.tradesProblem}</p>}
      <div class="scroll" tabIndex={0} role="region" aria-label={`Trades of ${store.symbol}`}>
        <table>
          <thead>
            <tr>
              <th scope="col">Time</th>
              <th scope="col" class="number">
                Price
              </th>
              <th scope="col" class="number">
                Size
              </th>
              <th scope="col">Side</th>
            </tr>
          </thead>
          <tbody>
            {[...trades].reverse().map((trade, at) => (
              <tr key={at}>
                <td>{clock(trade.time).slice(0, 8)}</td>
                <td class={`number ${trade.side === "buy" ? "up" : "down"}`}>{trade.price}</td>
                <td class="number">{trade.size}</td>
                <td>{trade.side}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
