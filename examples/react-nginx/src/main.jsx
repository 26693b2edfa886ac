import { createRoot } from "react-dom/client";
import { TeaTimer } from "./TeaTimer.jsx";
import "./style.css";

createRoot(document.getElementById("root")).render(<TeaTimer />);
