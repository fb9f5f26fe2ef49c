// A table of which only the rows in view exist, so that ten thousand cost as much as thirty. To the keyboard its rows are
// one stop of the tab key, and the arrow keys move from row to row.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

/** Rows beyond each edge of the view, so that scrolling shows no empty ones. */
const MARGIN = 6;

export interface Column {
  name: string;
  /** Its width, as in a style sheet; the others share the rest. */
  width?: string;
  /** Whether its cells are numbers, which stand at the right. */
  number?: boolean;
  /** Whether a narrow screen leaves it out. */
  notOnPhone?: boolean;
  /** How the table is sorted by it, if it can be. */
  sorted?: "ascending" | "descending" | "none";
  sort?(): void;
}

interface Props {
  label: string;
  columns: Column[];
  total: number;
  rowHeight: number;
  /** The row at this place: its key, its cells and whether it is selected. `tabIndex` is for the link or button in it. */
  row(at: number, tabIndex: 0 | -1): { key: string; cells: ComponentChildren[]; selected?: boolean; class?: string } | undefined;
  empty: string;
  /** The least width of all columns together, as in a style sheet: a narrower screen scrolls. */
  minWidth: string;
  /** The same on a narrow screen, if it leaves columns out. */
  minWidthPhone?: string;
}

const classOf = ({ number, notOnPhone }: Column): string => `${number ? "number" : ""}${notOnPhone ? " not-on-phone" : ""}`;

/** The place of the row that an element is in; -1 if it is in none. */
function placeOf(element: EventTarget | null): number {
  const row = element instanceof Element ? element.closest("tbody tr") : null;
  return Number(row?.getAttribute("aria-rowindex") ?? 1) - 2;
}

/** The focus in a row that leaves the view goes to the table, where the keys that scroll go on working. */
function keepFocus(box: HTMLElement, first: number, end: number): void {
  const at = placeOf(document.activeElement);
  const isLost = at >= 0 && (at < first || at >= end);
  if (isLost && box.contains(document.activeElement)) box.focus({ preventScroll: true });
}

/** Moves the focus to the row above or below with an arrow key. */
function step(event: KeyboardEvent): void {
  const isDown = event.key === "ArrowDown";
  if (placeOf(event.target) < 0 || (!isDown && event.key !== "ArrowUp")) return;
  event.preventDefault();
  const row = (event.target as Element).closest("tr");
  const next = isDown ? row?.nextElementSibling : row?.previousElementSibling;
  next?.querySelector<HTMLElement>("a, button")?.focus();
}

export function Rows({ label, columns, total, rowHeight, row, empty, minWidth, minWidthPhone = minWidth }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ first: 0, count: 40 });
  /** The row that had the focus last. */
  const [focused, setFocused] = useState(0);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const look = (): void => {
      const first = Math.max(0, Math.floor(element.scrollTop / rowHeight) - MARGIN);
      const count = Math.ceil(element.clientHeight / rowHeight) + 2 * MARGIN;
      keepFocus(element, first, first + count);
      setView((old) => (old.first === first && old.count === count ? old : { first, count }));
    };
    look();
    element.addEventListener("scroll", look, { passive: true });
    const sizes = new ResizeObserver(look);
    sizes.observe(element);
    return () => {
      element.removeEventListener("scroll", look);
      sizes.disconnect();
    };
  }, [rowHeight]);

  const first = Math.min(view.first, Math.max(0, total - view.count));
  const last = Math.min(total, first + view.count);
  const stop = focused >= first && focused < last ? focused : Math.min(first && first + MARGIN, last - 1);
  const shown = [];
  for (let at = first; at < last; at += 1) {
    const found = row(at, at === stop ? 0 : -1);
    if (!found) continue;
    shown.push(
      <tr
        key={found.key}
        aria-rowindex={at + 2}
        class={`${found.class ?? ""}${found.selected ? " selected" : ""}`}
        style={{ height: `${rowHeight}px` }}
      >
        {found.cells.map((cell, column) => (
          <td key={column} class={classOf(columns[column] ?? { name: "" })}>
            {cell}
          </td>
        ))}
      </tr>,
    );
  }
  const space = (rows: number) =>
    rows > 0 && (
      <tr class="space" aria-hidden="true">
        <td style={{ height: `${rows * rowHeight}px` }} />
      </tr>
    );
  return (
    <div
      class="rows"
      ref={box}
      tabIndex={0}
      role="region"
      aria-label={label}
      onKeyDown={step}
      onFocusCapture={({ target }) => setFocused((old) => (placeOf(target) < 0 ? old : placeOf(target)))}
    >
      <table aria-rowcount={total + 1} style={{ "--least": minWidth, "--least-phone": minWidthPhone }}>
        <colgroup>
          {columns.map((column) => (
            <col key={column.name} class={classOf(column)} style={column.width ? { width: column.width } : {}} />
          ))}
        </colgroup>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <th key={column.name} scope="col" class={classOf(column)} aria-sort={column.sorted}>
                {column.sort ? (
                  <button type="button" onClick={column.sort}>
                    {column.name}
                    <span aria-hidden="true">
                      {column.sorted === "ascending" ? " ↑" : column.sorted === "descending" ? " ↓" : ""}
                    </span>
                  </button>
                ) : (
                  column.name
                )}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {space(first)}
          {shown}
          {space(total - last)}
        </tbody>
      </table>
      {total === 0 && <p class="empty">{empty}</p>}
    </div>
  );
}
