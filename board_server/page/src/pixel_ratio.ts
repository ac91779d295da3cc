/** Device pixels a CSS pixel: it changes where a window is moved to another screen, though its size may stay. */

import { signal } from "@preact/signals";

export const pixelRatio = signal(devicePixelRatio || 1);

// Media queries for a resolution are not told of each change (a remote desktop's, an emulated screen's).
setInterval(() => {
  pixelRatio.value = devicePixelRatio || 1;
}, 1000);
