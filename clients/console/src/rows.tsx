// A table of which only the rows in view exist, so that ten thousand cost as much as thirty.

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
  /** How the table is sorted by it, if it can be. */
  sorted?: "ascending" | "descending" | "none";
  sort?(): void;
}

interface Props {
  label: string;
  columns: Column[];
  total: number;
  rowHeight: number;
  /** The row at this place: its key, its cells and whether it is selected. */
  row(at: number): { key: string; cells: ComponentChildren[]; selected?: boolean; class?: string } | undefined;
  empty: string;
  /** The least width of all columns together, as in a style sheet: a narrower screen scrolls. */
  minWidth: string;
}

export function Rows({ label, columns, total, rowHeight, row, empty, minWidth }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [view, setView] = useState({ first: 0, count: 40 });

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const look = (): void => {
      const first = Math.max(0, Math.floor(element.scrollTop / rowHeight) - MARGIN);
      const count = Math.ceil(element.clientHeight / rowHeight) + 2 * MARGIN;
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
  const shown = [];
  for (let at = first; at < last; at += 1) {
    const found = row(at);
    if (!found) continue;
    shown.push(
      <tr
        key={found.key}
        aria-rowindex={at + 2}
        class={`${found.class ?? ""}${found.selected ? " selected" : ""}`}
        style={{ height: `${rowHeight}px` }}
      >
        {found.cells.map((cell, column) => (
          <td key={column} class={columns[column]?.number ? "number" : ""}>
            {cell}
          </td>
        ))}
      </tr>,
    );
  }
  const space = (rows: number) =>
    rows > 0 && (
      <tr class="space" aria-hidden="true">
        <td colSpan={columns.length} style={{ height: `${rows * rowHeight}px` }} />
      </tr>
    );
  return (
    <div class="rows" ref={box} tabIndex={0} role="region" aria-label={label}>
      <table aria-rowcount={total + 1} style={{ minWidth }}>
        <colgroup>
          {columns.map((column) => (
            <col key={column.name} style={column.width ? { width: column.width } : {}} />
          ))}
        </colgroup>
        <thead>
          <tr aria-rowindex={1}>
            {columns.map((column) => (
              <th key={column.name} scope="col" class={column.number ? "number" : ""} aria-sort={column.sorted}>
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
