package app;

/** The Gregorian rule. */
final class LeapYear {
    private LeapYear() {}

    static boolean isLeap(long year) {
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    }
}
