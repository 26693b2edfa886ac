import { useEffect, useState } from "react";

const teas = { green: 120, black: 180, herbal: 300 };

export function TeaTimer() {
  const [left, setLeft] = useState(0);

  useEffect(() => {
    if (left === 0) return;
    const timer = setTimeout(() => setLeft(left - 1), 1000);
    return () => clearTimeout(timer);
  }, [left]);

  return (
    <main>
      <h1>Tea timer</h1>
      {Object.entries(teas).map(([tea, seconds]) => (
        <button key={tea} onClick={() => setLeft(seconds)}>
          {tea}
        </button>
      ))}
      <output>{left === 0 ? "ready" : `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`}</output>
    </main>
  );
}
