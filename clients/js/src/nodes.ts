/**
 * Which node of a cluster to connect to next. Pure: the time and the chance are arguments.
 *
 * The order is random at the beginning, so the clients of a node that dies spread over the others; a node that failed moves to the
 * end. In a round each node is tried once, without a wait in between; then the client waits, and another round begins. A node
 * that asked for time is left alone until then.
 */

interface Node {
  url: string;
  /** When it failed last. Negative if it has not. */
  failedAt: number;
  /** When it may be tried again; 0 if it did not ask for time. */
  notBefore: number;
}

export class Nodes {
  /** The nodes, those that failed last at the end. The last {@link tried} were tried in this round. */
  private readonly order: Node[];
  private node: Node;
  private tried = 0;
  /** Whether an attempt of this round may pass when it is repeated. */
  private mayPass = false;

  constructor(urls: readonly string[], random: () => number) {
    this.order = urls.map((url) => ({ url, failedAt: -random(), notBefore: 0 }));
    this.order.sort((a, b) => a.failedAt - b.failedAt);
    this.node = this.order[0] as Node;
  }

  /** The URL to connect to. */
  get url(): string {
    return this.node.url;
  }

  /** Whether each other node has failed since this time. */
  isLast(since: number): boolean {
    return this.order.every((node) => node === this.node || node.failedAt >= since);
  }

  /** Begins a new round: a connection lasted, or each node was tried. */
  lasted(): void {
    this.tried = 0;
    this.mayPass = false;
  }

  /**
   * Goes on to the next node, as this one failed. `askedMs`: for how long it is to be left alone; `mayPass`: whether another
   * attempt at it may succeed. Returns the wait: 0 for another node of this round, `undefined` if no node lets this client in,
   * and otherwise what `wait` gives, or more if the next node has asked for that.
   */
  failed(now: number, askedMs: number, mayPass: boolean, wait: () => number): number | undefined {
    const order = this.order;
    const node = this.node;
    node.failedAt = now;
    node.notBefore = askedMs && now + askedMs;
    order.push(...order.splice(order.indexOf(node), 1));
    this.tried += 1;
    this.mayPass ||= mayPass;
    const untried = order.slice(0, -this.tried);
    const open = untried.find(({ notBefore }) => notBefore <= now);
    if (open) {
      this.node = open;
      return 0;
    }
    if (!this.mayPass && untried.length === 0) return undefined;
    this.lasted();
    this.node = order.reduce((first, next) => (next.notBefore < first.notBefore ? next : first));
    return Math.max(wait(), this.node.notBefore - now);
  }
}
