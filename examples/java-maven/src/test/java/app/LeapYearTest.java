package app;

import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;

import org.junit.Test;

public class LeapYearTest {
    @Test
    public void centuriesAreLeapOnlyEveryFourHundredYears() {
        assertTrue(LeapYear.isLeap(2000));
        assertFalse(LeapYear.isLeap(1900));
    }

    @Test
    public void everyFourthYearIsLeap() {
        assertTrue(LeapYear.isLeap(2024));
        assertFalse(LeapYear.isLeap(2023));
    }
}
