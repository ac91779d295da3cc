/** A table of any number of rows: only those in sight are in the document. Arrow keys move, Enter opens. */

import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

export interface Column<Row> {
  id: string;
  title: ComponentChildren;
  label: string;
  width: number;
  numeric?: boolean;
  /** It stays in sight when the table is scrolled sideways; the first column alone. */
  frozen?: boolean;
  cell: (row: Row) => ComponentChildren;
}

interface TableProps<Row> {
  label: string;
  rows: readonly Row[];
  columns: readonly Column<Row>[];
  keyOf: (row: Row) => string | number;
  onOpen?: (row: Row) => void;
  rowClass?: (row: Row) => string;
  onHover?: (row: Row | null) => void;
  sort?: string;
  onSort?: (sort: string) => void;
  filterRow?: (column: Column<Row>) => ComponentChildren;
  rowHeight?: number;
}

const OVERSCAN = 6;

const classOf = <Row,>({ numeric, frozen }: Column<Row>) =>
  `${numeric ? "numeric" : ""} ${frozen ? "frozen" : ""}`.trim();

export function Table<Row>(props: TableProps<Row>) {
  const {
    label,
    rows,
    columns,
    keyOf,
    onOpen,
    rowClass,
    onHover,
    sort,
    onSort,
    filterRow,
    rowHeight = 34,
  } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const [span, setSpan] = useState({ top: 0, height: 800 });
  const [active, setActive] = useState(0);
  const moveFocus = useRef(false);

  useLayoutEffect(() => {
    const element = scroller.current!;
    const measure = () => setSpan({ top: element.scrollTop, height: element.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    element.addEventListener("scroll", measure, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", measure);
    };
  }, []);

  const first = Math.max(0, Math.floor(span.top / rowHeight) - OVERSCAN);
  const last = Math.min(rows.length, Math.ceil((span.top + span.height) / rowHeight) + OVERSCAN);
  const current = Math.min(active, rows.length - 1);
  const template = columns.map(({ width }) => `minmax(${width}px, ${width}fr)`).join(" ");
  const minWidth = columns.reduce((sum, { width }) => sum + width, 0);

  useLayoutEffect(() => {
    if (!moveFocus.current) return;
    moveFocus.current = false;
    scroller.current!.querySelector<HTMLElement>(`[data-row="${current}"]`)?.focus({ preventScroll: true });
  });

  const go = (index: number) => {
    const next = Math.max(0, Math.min(rows.length - 1, index));
    const element = scroller.current!;
    const headHeight = element.querySelector<HTMLElement>(".head")!.offsetHeight;
    const top = next * rowHeight;
    if (top < element.scrollTop) element.scrollTop = top;
    else if (top + rowHeight + headHeight > element.scrollTop + element.clientHeight)
      element.scrollTop = top + rowHeight + headHeight - element.clientHeight;
    moveFocus.current = true;
    setSpan({ top: element.scrollTop, height: element.clientHeight });
    setActive(next);
  };

  const onKeyDown = (event: KeyboardEvent) => {
    if (!(event.target as HTMLElement).matches("[data-row]")) return;
    const page = Math.max(1, Math.floor(span.height / rowHeight) - 2);
    const target = {
      ArrowDown: current + 1,
      ArrowUp: current - 1,
      PageDown: current + page,
      PageUp: current - page,
      Home: 0,
      End: rows.length - 1,
    }[event.key];
    if (target !== undefined) go(target);
    else if (event.key === "Enter" && onOpen && rows[current] !== undefined) onOpen(rows[current]);
    else return;
    event.preventDefault();
  };

  const style = { gridTemplateColumns: template };
  return (
    <div
      class="table"
      ref={scroller}
      role="table"
      tabIndex={0}
      aria-label={label}
      aria-rowcount={rows.length + 1}
      aria-colcount={columns.length}
      onKeyDown={onKeyDown}
      onMouseLeave={() => onHover?.(null)}
    >
      <div class="head" role="rowgroup" style={{ minWidth: `${minWidth}px` }}>
        <div class="row" role="row" aria-rowindex={1} style={style}>
          {columns.map((column) => {
            const order =
              sort === column.id ? "ascending" : sort === `-${column.id}` ? "descending" : undefined;
            const next = order === "ascending" ? `-${column.id}` : column.id;
            return (
              <div
                key={column.id}
                role="columnheader"
                class={classOf(column)}
                aria-sort={onSort ? (order ?? "none") : undefined}
              >
                {onSort && column.label ? (
                  <button
                    type="button"
                    title={column.label}
                    onClick={() =>
                      onSort(
                        order === undefined && column.numeric && column.id.includes("/")
                          ? `-${column.id}`
                          : next,
                      )
                    }
                  >
                    <span class="name">{column.title}</span>
                    <span aria-hidden="true">
                      {order === "ascending" ? " ↑" : order === "descending" ? " ↓" : ""}
                    </span>
                  </button>
                ) : (
                  <div class="name">{column.title}</div>
                )}
                {filterRow?.(column)}
              </div>
            );
          })}
        </div>
      </div>
      <div
        class="body"
        role="rowgroup"
        style={{ height: `${rows.length * rowHeight}px`, minWidth: `${minWidth}px` }}
      >
        {rows.slice(first, last).map((row, i) => {
          const index = first + i;
          return (
            <div
              key={keyOf(row)}
              data-row={index}
              class={`row ${onOpen ? "opens" : ""} ${rowClass?.(row) ?? ""}`}
              role="row"
              aria-rowindex={index + 2}
              tabIndex={index === current ? 0 : -1}
              style={{ ...style, top: `${index * rowHeight}px`, height: `${rowHeight}px` }}
              onFocus={(event) => event.target === event.currentTarget && setActive(index)}
              onMouseEnter={() => onHover?.(row)}
              onClick={(event) => {
                if (onOpen && !(event.target as HTMLElement).closest("a, button, input")) onOpen(row);
              }}
            >
              {columns.map((column) => (
                <div key={column.id} role="cell" class={classOf(column)}>
                  {column.cell(row)}
                </div>
              ))}
            </div>
          );
        })}
      </div>
    </div>
  );
}
