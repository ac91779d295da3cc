/** The means that are drawn, with their colours; a click hides one. */

import { setView, view } from "./app";
import { css, type Rgb } from "./colours";
import type { Group } from "./groups";
import { hiddenAfter } from "./hidden";

const NAMED = 24; // of so many groups the colours are named

export function GroupChips({ groups, rgbOf }: { groups: readonly Group[]; rgbOf: (i: number) => Rgb }) {
  const { hideGroups } = view.value;
  const all = groups.map(([label]) => label);
  return (
    <p class="active">
      {groups.slice(0, NAMED).map(([label, members], i) => (
        <button
          type="button"
          class={`bare key ${hideGroups.includes(label) ? "hides" : ""}`}
          key={label}
          aria-pressed={!hideGroups.includes(label)}
          title="Hide or draw it; with Shift: it alone"
          onClick={(event) =>
            setView({ hideGroups: hiddenAfter(view.value.hideGroups, label, all, event.shiftKey) })
          }
        >
          <i style={{ background: css(rgbOf(i)) }} />
          {label} <small>{members.length}</small>
        </button>
      ))}
      {groups.length > NAMED && <small>and {groups.length - NAMED} more</small>}
    </p>
  );
}
